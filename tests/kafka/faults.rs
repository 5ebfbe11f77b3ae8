//! Exactly once, whatever is killed, stopped or cut off, and whenever: seen by committed readers that are not our code, at the end and all along.

use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::{Duration, Instant};

use super::trade::Trade;
use crate::support::{
    BrokerSettings, Kafka, Network, Outcome, PATIENCE, Program, Proxy, Random, Received, Running, Summary, Workspace,
    assert_unique_positions, eventually, get, is_soak, skip,
};

const SEED: u64 = 20_261_124;

/// As `transaction_timeout` in the job, and some more for the broker to act on it.
const BEYOND_TRANSACTION: Duration = Duration::from_millis(11_500);

/// The pause between two slices: a few of them go into an epoch, or a few epochs pass.
const PAUSE: Duration = Duration::from_millis(25);

/// The named points of the commit protocol, in their order.
const POINTS: [&str; 8] = [
    "sinks_opened",
    "inside_transaction",
    "before_sinks",
    "before_state",
    "after_state",
    "before_commit",
    "after_commit",
    "after_apply",
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// SIGKILL at some moment.
    Kill,
    /// SIGKILL at a named point.
    KillAt(&'static str),
    /// SIGKILL of the broker, which comes back.
    Broker,
    /// SIGSTOP for longer than the transaction timeout, and a second instance that starts at once, or only after the timeout.
    Zombie { at_once: bool },
    /// No connection, for a while.
    Cut,
    /// Connections that hang for longer than the transaction timeout.
    Hang,
}

impl Fault {
    fn needs_own_broker(self) -> bool {
        matches!(self, Fault::Broker | Fault::Cut | Fault::Hang)
    }
}

/// The faults of one mode, in their order: 15 rounds, or 105 in a soak.
fn schedule(program: Program) -> Vec<Fault> {
    let mut faults: Vec<Fault> = POINTS.map(Fault::KillAt).to_vec();
    let zombie = Fault::Zombie { at_once: program == Program::Sedd };
    for (at, fault) in [Fault::Broker, Fault::Kill, Fault::Cut, Fault::Kill, zombie, Fault::Broker, Fault::Hang]
        .into_iter()
        .enumerate()
    {
        faults.insert(2 * at + 1, fault);
    }
    faults.repeat(if is_soak() { 7 } else { 1 })
}

#[test]
fn streaming_is_exactly_once_under_faults() {
    survives(Program::Sedd);
}

#[test]
fn deferred_is_exactly_once_under_faults() {
    survives(Program::Dedd);
}

fn survives(program: Program) {
    let mut trial = Trial::new(program);
    for (round, fault) in schedule(program).into_iter().enumerate() {
        if trial.kafka.is_foreign() && fault.needs_own_broker() {
            skip(&format!("{fault:?}"), "the broker is not ours");
            continue;
        }
        if matches!(fault, Fault::KillAt(_)) && !cfg!(debug_assertions) {
            skip(&format!("{fault:?}"), "only builds with debug assertions, as of make test, have named points");
            continue;
        }
        let began = Instant::now();
        trial.round(fault);
        println!("{program:?}, round {round}: {fault:?}, {:.1?}, {} records", began.elapsed(), trial.trade.records());
    }
    trial.finish();
}

/// A job, its topics, and two who read along.
struct Trial {
    program: Program,
    kafka: Kafka,
    proxy: Proxy,
    workspace: Workspace,
    trade: Trade,
    random: Random,
    running: Option<Running>,
    followers: [Running; 2],
}

impl Trial {
    fn new(program: Program) -> Trial {
        let proxy = Proxy::start();
        let settings = BrokerSettings { proxy: Some(proxy.port()), ..BrokerSettings::brief() };
        let mut kafka = Kafka::own_or_foreign(settings);
        let trade = Trade::new(&kafka, SEED);
        let workspace = Workspace::new();
        let address = if kafka.is_foreign() {
            kafka.address().to_owned()
        } else {
            proxy.lead_to(kafka.broker().proxied_address());
            proxy.address()
        };
        workspace.write("job.toml", trade.job(program, &address));
        let followers = [kafka.follow(&trade.resolved), kafka.follow(&trade.dead)];
        Trial { program, kafka, proxy, workspace, trade, random: Random::new(SEED), running: None, followers }
    }

    fn round(&mut self, fault: Fault) {
        match fault {
            Fault::Kill => self.kill(),
            Fault::KillAt(point) => self.kill_at(point),
            Fault::Zombie { at_once } => self.zombie(at_once),
            Fault::Broker => self.while_running(|trial| {
                trial.kafka.restart();
            }),
            Fault::Cut => self.while_running(|trial| {
                trial.proxy.set(Network::IsDown);
                trial.feed(20);
                thread::sleep(Duration::from_secs(2));
                trial.proxy.set(Network::Works);
            }),
            Fault::Hang => self.while_running(|trial| {
                trial.proxy.set(Network::Hangs);
                trial.feed(20);
                thread::sleep(BEYOND_TRANSACTION);
                trial.proxy.set(Network::Works);
            }),
        }
        self.trade.feed_orders(&self.kafka);
    }

    fn command(&self) -> std::process::Command {
        self.workspace.command(self.program, &["--workers", "2", "--metrics", "127.0.0.1:0"])
    }

    /// Starts the job unless it runs, and waits until it has caught up.
    fn start(&mut self) {
        if self.running.is_none() {
            let mut running = Running::start(&mut self.command());
            await_ready(&mut running);
            self.running = Some(running);
        }
    }

    fn feed(&mut self, slices: usize) {
        for _ in 0..slices {
            self.trade.feed(&self.kafka);
            thread::sleep(PAUSE);
        }
    }

    /// Outcomes that the first follower has seen.
    fn seen(&self) -> usize {
        self.followers[0].stdout_lines()
    }

    /// Feeds the job, kills it while outcomes come.
    fn kill(&mut self) {
        self.start();
        let seen = self.seen();
        let slices = 3 + self.random.below(12);
        self.feed(slices);
        eventually("outcomes become visible", || {
            self.trade.feed(&self.kafka);
            (self.seen() > seen).then_some(())
        });
        thread::sleep(Duration::from_micros(self.random.below(50_000) as u64));
        self.running.take().unwrap().kill();
    }

    /// Runs the job until it kills itself at a named point.
    fn kill_at(&mut self, point: &str) {
        if let Some(running) = self.running.take() {
            running.kill();
        }
        let nth = if point == "sinks_opened" { 1 } else { 1 + self.random.below(4) };
        let mut running = Running::start(self.command().env("RESOLVENT_FAILPOINT", format!("{point}:{nth}")));
        let began = Instant::now();
        while !running.has_ended() {
            assert!(began.elapsed() < PATIENCE, "it does not pass {point}:{nth}: {}", running.stderr());
            self.feed(1);
        }
        let ended = running.wait();
        assert_eq!(ended.status.signal(), Some(9), "at {point}:{nth}: {}\n{}", ended.status, ended.stderr);
    }

    /// Something happens to a job at work, which has to go on by itself.
    fn while_running(&mut self, happens: impl FnOnce(&mut Trial)) {
        self.start();
        self.feed(8);
        happens(self);
        self.feed(8);
        self.settle();
    }

    /// Feeds what is missing, and waits until all of it has come out, of the job that runs.
    fn settle(&mut self) {
        self.trade.feed_orders(&self.kafka);
        let began = Instant::now();
        let running = self.running.as_mut().unwrap();
        while self.followers[0].stdout_lines() < self.trade.resolvable() {
            assert!(!running.has_ended(), "the job has ended: {}", running.stderr());
            assert!(began.elapsed() < PATIENCE, "outcomes are missing; the job says:\n{}", running.stderr());
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops the job as a machine that hangs does. Another one takes over its work; when it wakes, it must not do anything any more.
    fn zombie(&mut self, at_once: bool) {
        self.start();
        self.feed(8);
        let zombie = self.running.take().unwrap();
        zombie.suspend();
        let stopped = Instant::now();
        let workspace = Workspace::new();
        workspace.write("job.toml", self.workspace.read("job.toml"));
        workspace.copy_from(&self.workspace, "state");
        let asleep = std::mem::replace(&mut self.workspace, workspace);
        if !at_once {
            thread::sleep(BEYOND_TRANSACTION);
        }
        self.start();
        self.feed(8);
        thread::sleep(BEYOND_TRANSACTION.saturating_sub(stopped.elapsed()));
        zombie.proceed();
        self.feed(8);
        zombie.wait().failed(1, &["another instance"]);
        drop(asleep);
        self.settle();
    }

    /// Runs the job to its end, and compares with what has to come out.
    fn finish(mut self) {
        if let Some(running) = self.running.take() {
            running.terminate();
            running.wait().succeeded();
        }
        let arguments = ["--until-end=expire", "--workers", "1"];
        let ended = self.workspace.run(self.program, &arguments).succeeded();
        let Summary { read, rejected, resolved, expired, waiting, .. } = Summary::parse(&ended.stderr);
        let (records, resolvable) = (self.trade.records(), self.trade.resolvable());
        assert_eq!((read as usize, resolved as usize), (records, resolvable));
        assert_eq!((rejected, expired as usize, waiting), (0, records - resolvable, 0));

        let topics = [self.trade.resolved.clone(), self.trade.dead.clone()];
        let outcomes: Vec<Outcome> = topics.iter().flat_map(|topic| self.kafka.outcomes(topic)).collect();
        assert_unique_positions(&outcomes);
        assert_eq!(outcomes.len(), records, "outcomes are missing");
        self.trade.check(&outcomes);
        assert_unique_positions(&self.kafka.outcomes(&self.trade.accepted));

        // Those who read along, while all this happened, have seen the same.
        let awaited = [resolvable, records - resolvable];
        for (follower, awaited) in self.followers.iter().zip(awaited) {
            eventually("a follower reads to the end", || (follower.stdout_lines() >= awaited).then_some(()));
        }
        let lines = |follower: &Running| follower.stdout().lines().map(Received::parse).collect::<Vec<_>>();
        let seen: Vec<Outcome> = self.followers.iter().flat_map(lines).map(|record| record.outcome()).collect();
        assert_unique_positions(&seen);
        assert_eq!(seen.len(), records);
    }
}

/// Waits until a job has read what was there at its start.
fn await_ready(running: &mut Running) {
    let address = running.metrics_address();
    eventually("the job is ready", || {
        assert!(!running.has_ended(), "it has ended: {}", running.stderr());
        get(&address, "/readyz").filter(|(status, _)| *status == 200)
    });
}
