//! An Apache Kafka broker of our own, on the loopback interface and in a temporary directory: for the tests, the benchmarks and the demo.
//!
//! The jars are those that `.ci/setup` has put below `RESOLVENT_TOOLS`. A broker never outlives the process that started it, however that ends.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write as _};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// How long a broker may take to start: far beyond what it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a broker says when it serves its clients.
const READY: &str = "Kafka Server started";

/// Runs Java as a child that is killed when it reads a line, or when its standard input ends: then we are no more, and it removes the directory, too.
/// Its first line is Java's process id.
const WATCHER: &str = r#"
exec 3<&0
"$@" 3<&- </dev/null >/dev/null &
java=$!
{ read -r _ <&3 || : >abandoned; kill -9 $java; } >/dev/null 2>&1 &
watcher=$!
exec 3<&-
echo $java
wait $java
status=$?
kill $watcher 2>/dev/null
[ ! -e abandoned ] || rm -rf "$PWD"
exit $status
"#;

/// Settings that make one broker quick to start, to abort and to forget, and content with little memory. It keeps all records, however old their timestamps say that
/// they are: five minutes after its start it would delete those of a topic, and with them the tests' ground.
const PROPERTIES: &str = "\
process.roles=broker,controller
node.id=1
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAIN
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAIN:PLAINTEXT,PROXIED:PLAINTEXT,TLS:SSL,SASL:SASL_SSL
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
offsets.topic.replication.factor=1
offsets.topic.num.partitions=8
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=8
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.abort.timed.out.transaction.cleanup.interval.ms=500
offsets.retention.check.interval.ms=1000
log.retention.ms=-1
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
log.segment.bytes=67108864
log.index.size.max.bytes=1048576
log.cleaner.threads=1
log.cleaner.backoff.ms=500
log.cleaner.dedupe.buffer.size=4194304
";

/// The user that may do everything on the `SASL` listener of a secured broker.
pub(crate) const USER: (&str, &str) = ("resolvent", "correct-horse-battery");
/// One that may log in and nothing else.
pub(crate) const STRANGER: (&str, &str) = ("stranger", "may-do-nothing");

/// What a broker is to be like.
#[derive(Clone, Debug)]
pub(crate) struct BrokerSettings {
    /// The largest heap, as Java writes it.
    pub(crate) heap: &'static str,
    /// Whether Java compiles only once and quickly: starts sooner, and is slower under load.
    pub(crate) is_brief: bool,
    /// Whether it also listens with TLS, and with SASL/SCRAM over TLS, and asks who may do what.
    pub(crate) is_secured: bool,
    /// The port of a proxy that leads to the broker's `PROXIED` listener, which gives this as its address.
    pub(crate) proxy: Option<u16>,
    /// Where its directory is made.
    pub(crate) place: PathBuf,
    /// Settings of the broker that come after [`PROPERTIES`].
    pub(crate) properties: Vec<(&'static str, String)>,
}

impl BrokerSettings {
    /// For a test: little memory, a quick start.
    pub(crate) fn brief() -> BrokerSettings {
        let (place, properties) = (std::env::temp_dir(), Vec::new());
        BrokerSettings { heap: "384m", is_brief: true, is_secured: false, proxy: None, place, properties }
    }

    /// For measurements and much data.
    pub(crate) fn lasting() -> BrokerSettings {
        BrokerSettings { heap: "512m", is_brief: false, ..BrokerSettings::brief() }
    }
}

/// A broker, its port and its data. Dropping it kills the process and removes the data.
pub(crate) struct Broker {
    settings: BrokerSettings,
    directory: TempDir,
    ports: Ports,
    process: Option<Process>,
}

struct Ports {
    plain: u16,
    controller: u16,
    tls: u16,
    sasl: u16,
    proxied: u16,
}

/// The watcher, which ends when Java does.
struct Process {
    watcher: Child,
    /// While this is open and nothing is written to it, Java lives.
    life: ChildStdin,
    java: u32,
}

impl Broker {
    /// Starts a broker and waits until it serves.
    ///
    /// # Errors
    /// If Java or the jars are not there, or the broker fails: then with the end of what it said.
    pub(crate) fn start(settings: BrokerSettings) -> io::Result<Broker> {
        let mut broker = Broker::prepare(settings)?;
        broker.launch()?;
        Ok(broker)
    }

    /// A broker whose address is known and whose directory is made, and that does not run yet.
    ///
    /// # Errors
    /// If Java or the jars are not there.
    pub(crate) fn prepare(settings: BrokerSettings) -> io::Result<Broker> {
        if !jars().join("pom.xml").exists() {
            let text = format!("no Apache Kafka in {}: run `.ci/setup kafka`, as `make test` does", jars().display());
            return Err(io::Error::new(io::ErrorKind::NotFound, text));
        }
        let [plain, controller, tls, sasl, proxied] =
            [free_port()?, free_port()?, free_port()?, free_port()?, free_port()?];
        let ports = Ports { plain, controller, tls, sasl, proxied };
        let directory = tempfile::Builder::new().prefix("kafka-").tempdir_in(&settings.place)?;
        let broker = Broker { settings, directory, ports, process: None };
        if broker.settings.is_secured {
            broker.make_certificate()?;
        }
        fs::write(broker.path("server.properties"), broker.properties())?;
        broker.format()?;
        Ok(broker)
    }

    /// Starts the process, again after a [`kill`](Broker::kill) on the same port and data, and waits until it serves.
    ///
    /// # Errors
    /// If it does not start.
    pub(crate) fn launch(&mut self) -> io::Result<()> {
        let log = OpenOptions::new().create(true).append(true).open(self.path("broker.log"))?;
        let begin = log.metadata()?.len();
        let mut command = Command::new("sh");
        command.arg("-c").arg(WATCHER).arg("watcher").arg("java").args(self.java_options());
        command.args(["kafka.Kafka", "server.properties"]).current_dir(self.directory.path()).process_group(0);
        let mut watcher = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let (Some(life), Some(stdout)) = (watcher.stdin.take(), watcher.stdout.take()) else {
            return Err(io::Error::other("the broker was started without pipes"));
        };
        let mut first = String::new();
        BufReader::new(stdout).read_line(&mut first)?;
        let java = first.trim().parse().map_err(|_| io::Error::other("the shell did not say Java's process id"))?;
        self.process = Some(Process { watcher, life, java });
        self.wait_until_ready(begin)
    }

    /// Ends the process at once with SIGKILL. The data stays.
    pub(crate) fn kill(&mut self) {
        let Some(Process { mut watcher, mut life, .. }) = self.process.take() else { return };
        // This fails where the broker has ended by itself, the next one never: nobody else waits for this child.
        let _ = life.write_all(b"end\n");
        let _ = watcher.wait();
    }

    /// The broker's process, where it runs.
    pub(crate) fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(|process| process.java)
    }

    /// Where it listens without TLS, for everybody.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.plain)
    }

    /// Where the proxy is to lead to.
    pub(crate) fn proxied_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.proxied)
    }

    /// Where a secured one listens with TLS.
    pub(crate) fn tls_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.tls)
    }

    /// Where a secured one listens with SASL/SCRAM-SHA-256 over TLS.
    pub(crate) fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.sasl)
    }

    /// The certificate of a secured one, which its clients must be told to trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.path("broker.pem")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn wait_until_ready(&mut self, begin: u64) -> io::Result<()> {
        let began = Instant::now();
        loop {
            let said = read_from(&self.path("broker.log"), begin)?;
            if said.contains(READY) {
                return Ok(());
            }
            let ended = self.process.as_mut().map_or(Ok(None), |process| process.watcher.try_wait())?;
            if ended.is_some() || began.elapsed() > PATIENCE {
                self.kill();
                let end: Vec<&str> = said.lines().rev().take(30).collect();
                let end = end.into_iter().rev().collect::<Vec<_>>().join("\n");
                return Err(io::Error::other(format!("the broker did not start. It said last:\n{end}")));
            }
            thread::sleep(Duration::from_millis(10));
        }
    }

    fn java_options(&self) -> Vec<String> {
        let mut options = vec![format!("-Xmx{}", self.settings.heap), "-XX:+UseSerialGC".to_owned()];
        if self.settings.is_brief {
            options.push("-XX:TieredStopAtLevel=1".to_owned());
        }
        options.extend(["-cp".to_owned(), format!("{}/*", jars().display())]);
        options
    }

    fn properties(&self) -> String {
        let Ports { plain, controller, tls, sasl, proxied } = self.ports;
        let mut listeners = format!("PLAIN://127.0.0.1:{plain}");
        if self.settings.is_secured {
            // Writing to a string does not fail, here and below.
            let _ = write!(listeners, ",TLS://127.0.0.1:{tls},SASL://127.0.0.1:{sasl}");
        }
        let mut advertised = listeners.clone();
        if let Some(proxy) = self.settings.proxy {
            let _ = write!(listeners, ",PROXIED://127.0.0.1:{proxied}");
            let _ = write!(advertised, ",PROXIED://127.0.0.1:{proxy}");
        }
        let mut text = PROPERTIES.to_owned();
        let _ = writeln!(text, "listeners={listeners},CONTROLLER://127.0.0.1:{controller}");
        let _ = writeln!(text, "advertised.listeners={advertised}");
        let _ = writeln!(text, "controller.quorum.voters=1@127.0.0.1:{controller}");
        let _ = writeln!(text, "log.dirs={}", self.path("data").display());
        if self.settings.is_secured {
            let _ = writeln!(text, "ssl.keystore.location={}", self.path("broker.p12").display());
            let _ = writeln!(text, "ssl.keystore.type=PKCS12\nssl.keystore.password={KEYSTORE_PASSWORD}");
            let _ = writeln!(text, "sasl.enabled.mechanisms=SCRAM-SHA-256");
            let _ = writeln!(
                text,
                "listener.name.sasl.scram-sha-256.sasl.jaas.config=\
                 org.apache.kafka.common.security.scram.ScramLoginModule required;"
            );
            let _ = writeln!(text, "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer");
            let _ = writeln!(text, "super.users=User:ANONYMOUS;User:{}", USER.0);
        }
        for (name, value) in &self.settings.properties {
            let _ = writeln!(text, "{name}={value}");
        }
        text
    }

    fn format(&self) -> io::Result<()> {
        let mut command = Command::new("java");
        command.args(self.java_options()).args(["kafka.tools.StorageTool", "format"]);
        command.args(["--cluster-id", "cmVzb2x2ZW50LXRlc3RzMQ", "--config", "server.properties"]);
        if self.settings.is_secured {
            for (name, password) in [USER, STRANGER] {
                command.arg("--add-scram").arg(format!("SCRAM-SHA-256=[name={name},password={password}]"));
            }
        }
        self.succeed(&mut command)
    }

    /// A key of the broker's own, and its certificate, signed by itself.
    fn make_certificate(&self) -> io::Result<()> {
        let store = ["-alias", "broker", "-keystore", "broker.p12", "-storepass", KEYSTORE_PASSWORD];
        let mut generate = Command::new("keytool");
        generate.args(["-genkeypair", "-keyalg", "EC", "-validity", "2", "-dname", "CN=localhost"]);
        generate.args(["-ext", "SAN=ip:127.0.0.1,dns:localhost", "-storetype", "PKCS12"]).args(store);
        self.succeed(&mut generate)?;
        let mut export = Command::new("keytool");
        self.succeed(export.args(["-exportcert", "-rfc", "-file", "broker.pem"]).args(store))
    }

    fn succeed(&self, command: &mut Command) -> io::Result<()> {
        let program = command.get_program().to_string_lossy().into_owned();
        let started = command.current_dir(self.directory.path()).stdin(Stdio::null()).output();
        let Output { status, stdout, stderr } = started.map_err(|error| {
            io::Error::new(error.kind(), format!("cannot run {program}, Java 17 or later: {error}"))
        })?;
        if status.success() {
            return Ok(());
        }
        let said = [stdout, stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        Err(io::Error::other(format!("{command:?} failed, {status}:\n{said}")))
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Of the key store, which lives as long as its broker.
const KEYSTORE_PASSWORD: &str = "key-store-of-a-test";

/// The directory of the broker's jars.
fn jars() -> PathBuf {
    let tools = std::env::var_os("RESOLVENT_TOOLS").map(PathBuf::from);
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/resolvent/tools");
    tools.unwrap_or_else(home).join("kafka")
}

/// A port that nobody listens on, and below those that systems give to outgoing connections: so that it is still free when a killed broker comes back.
fn free_port() -> io::Result<u16> {
    const FIRST: u16 = 12_000;
    const PORTS: u16 = 20_000;
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = (std::process::id() % u32::from(PORTS)) as u16;
    for _ in 0..PORTS {
        let offset = u32::from(own) * 37 + u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = FIRST + (offset % u32::from(PORTS)) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return Ok(port);
        }
    }
    Err(io::Error::other("no free port from 12,000 to 32,000"))
}

fn read_from(path: &Path, begin: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}
