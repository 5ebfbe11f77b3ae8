//! TLS, SASL/SCRAM and ACLs of a real broker, with right and wrong credentials; and no secret anywhere.

use super::shop::{Changes, Shop};
use crate::support::{BrokerSettings, Ended, Kafka, Operation, Program, Resource, STRANGER, Sent, USER, allow, orders};

/// A password that no user has.
const WRONG: &str = "staple-of-a-wrong-battery";

struct Secured {
    kafka: Kafka,
    certificate: String,
}

impl Secured {
    fn start(what: &str) -> Option<Secured> {
        let mut kafka = Kafka::own(what, BrokerSettings { is_secured: true, ..BrokerSettings::brief() })?;
        let certificate = kafka.broker().certificate().display().to_string();
        Some(Secured { kafka, certificate })
    }

    /// A shop with ten orders, whose brokers and properties are these.
    fn shop(&self, brokers: &str, properties: &[(&str, &str)]) -> Shop {
        let entries: Vec<String> = properties.iter().map(|(name, value)| format!("{name:?} = {value:?}")).collect();
        let source = format!("properties = {{ {} }}", entries.join(", "));
        let changes = Changes { source: &source, brokers: Some(brokers), ..Changes::default() };
        let shop = Shop::new(&self.kafka, 1, &changes);
        self.kafka.send_lines(&shop.events, &orders(0..10));
        shop
    }

    fn sasl_shop(&mut self, user: &str, password: &str) -> Shop {
        let brokers = self.kafka.broker().sasl_address();
        let certificate = self.certificate.clone();
        self.shop(
            &brokers,
            &[
                ("security.protocol", "SASL_SSL"),
                ("ssl.ca.location", &certificate),
                ("sasl.mechanism", "SCRAM-SHA-256"),
                ("sasl.username", user),
                ("sasl.password", password),
            ],
        )
    }
}

fn run(shop: &Shop, program: Program) -> Ended {
    let mut command = shop.workspace.command(program, &["--until-end"]);
    // All that can be said is to be said.
    crate::support::Running::start(command.env("RUST_LOG", "trace")).wait()
}

#[track_caller]
fn assert_no_secret(ended: &Ended, secret: &str) {
    assert!(
        !ended.stderr.contains(secret) && !ended.stdout.contains(secret),
        "the secret is in:\n{}{}",
        ended.stdout,
        ended.stderr
    );
}

#[test]
fn tls_works_with_the_right_certificate_and_fails_without() {
    let Some(mut secured) = Secured::start("TLS") else { return };
    let brokers = secured.kafka.broker().tls_address();
    let certificate = secured.certificate.clone();
    for program in Program::ALL {
        let trusting = secured.shop(&brokers, &[("security.protocol", "SSL"), ("ssl.ca.location", &certificate)]);
        trusting.workspace.run(program, &["--until-end"]).succeeded();
        assert_eq!(secured.kafka.outcomes(&trusting.resolved).len(), 10, "{program:?}");
        let suspicious = secured.shop(&brokers, &[("security.protocol", "SSL")]);
        suspicious.workspace.run(program, &["--until-end"]).failed(1, &["TLS", &brokers, "ssl.ca.location"]);
    }
}

#[test]
fn scram_works_with_the_right_password_and_fails_with_a_wrong_one() {
    let Some(mut secured) = Secured::start("SASL") else { return };
    for program in Program::ALL {
        let right = secured.sasl_shop(USER.0, USER.1);
        let ended = run(&right, program).succeeded();
        assert_no_secret(&ended, USER.1);
        assert_eq!(secured.kafka.outcomes(&right.resolved).len(), 10, "{program:?}");
        let checked = right.workspace.run(program, &["--check"]).succeeded();
        assert_no_secret(&checked, USER.1);
        assert!(checked.stdout.contains("sasl.password"), "that there is one is said: {}", checked.stdout);

        let wrong = secured.sasl_shop(USER.0, WRONG);
        let ended = run(&wrong, program).failed(1, &["credentials"]);
        assert_no_secret(&ended, WRONG);
        let unknown = secured.sasl_shop("nobody-known", WRONG);
        run(&unknown, program).failed(1, &["credentials"]);
        assert!(secured.kafka.outcomes(&wrong.resolved).is_empty());
    }
}

#[test]
fn a_user_without_rights_is_told_which_are_missing() {
    let Some(mut secured) = Secured::start("ACLs") else { return };
    for program in Program::ALL {
        let shop = secured.sasl_shop(STRANGER.0, STRANGER.1);
        let ended = run(&shop, program).failed(1, &["no permission", "ACL"]);
        assert_no_secret(&ended, STRANGER.1);
    }
}

/// Rights that are given one by one, until the job runs: what is still missing is named each time.
#[test]
fn each_right_that_is_missing_is_named() {
    let Some(mut secured) = Secured::start("ACLs, one by one") else { return };
    for program in Program::ALL {
        let shop = secured.sasl_shop(STRANGER.0, STRANGER.1);
        let job = format!("resolvent-{}", shop.name);
        let give = |rights: &[(Resource<'_>, Operation)]| allow(secured.kafka.address(), STRANGER.0, rights);
        let refused = |phrases: &[&str]| _ = run(&shop, program).failed(1, phrases);
        let group = || {
            refused(&[&format!("no permission for group `{job}`"), "ACL"]);
            give(&[(Resource::Group(&job), Operation::Read)]);
        };
        give(&[(Resource::Topic(&shop.events), Operation::Read)]);
        if program == Program::Independent {
            // It asks where its group stands before all else.
            group();
        }
        refused(&[&format!("no permission for topic `{}`", shop.resolved), "allows Write and Describe"]);
        for topic in [&shop.resolved, &shop.dead] {
            give(&[(Resource::Topic(topic), Operation::Write)]);
        }
        refused(&[&format!("no permission for transactional id `{job}"), "ACL"]);
        give(&[(Resource::TransactionalId(&job), Operation::Write)]);
        if program == Program::Independent {
            // Each process has an id of its own, which only begins with the job's.
            refused(&[&format!("no permission for transactional id `{job}-"), "ACL"]);
            give(&[(Resource::TransactionalIds(&format!("{job}-")), Operation::Write)]);
        } else {
            group();
            // Where the marker is.
            refused(&[&format!("no permission for topic `{}`", shop.resolved), "allows Read"]);
            give(&[(Resource::Topic(&shop.resolved), Operation::Read)]);
        }
        run(&shop, program).succeeded();
        assert_eq!(secured.kafka.committed(&job, &shop.events), [Some(10)], "{program:?}");
        assert_eq!(secured.kafka.outcomes(&shop.resolved).len(), 10, "{program:?}");
    }
}

/// Who may write to a topic may not ask how large its records may be: then the job says so, and goes on as if it took all.
#[test]
fn a_topic_whose_limit_may_not_be_asked_for_is_named_when_it_refuses() {
    let Some(mut secured) = Secured::start("DescribeConfigs") else { return };
    for program in Program::JOINING {
        let shop = secured.sasl_shop(STRANGER.0, STRANGER.1);
        let (address, job) = (secured.kafka.address(), format!("resolvent-{}", shop.name));
        let rights = [
            (Resource::Topic(&shop.events), Operation::Read),
            (Resource::Topic(&shop.resolved), Operation::Write),
            (Resource::Topic(&shop.resolved), Operation::Read),
            (Resource::Topic(&shop.dead), Operation::Write),
            (Resource::TransactionalId(&job), Operation::Write),
            (Resource::Group(&job), Operation::Read),
        ];
        allow(address, STRANGER.0, &rights);
        secured.kafka.configure(&shop.resolved, &[("max.message.bytes", "5000")]);
        let ended = shop.workspace.run(program, &["--until-end"]).succeeded();
        assert_eq!(ended.stderr.matches("ACL that allows DescribeConfigs").count(), 1, "{}", ended.stderr);
        shop.replace("[sink.kafka]\n", "[sink.kafka]\ncompression = \"none\"\n");
        let large = format!(r#"{{"type":"order","id":77,"item":"{}"}}"#, "x".repeat(6000));
        secured.kafka.send(&shop.events, [Sent::value(0, &large)]);
        let advice =
            [&*shop.resolved, "does not take a record of this size", "allow DescribeConfigs", "message.max.bytes"];
        shop.workspace.run(program, &["--until-end"]).failed(1, &advice);
        assert_eq!(secured.kafka.outcomes(&shop.resolved).len(), 10, "{program:?}");
        allow(address, STRANGER.0, &[(Resource::Topic(&shop.resolved), Operation::DescribeConfigs)]);
        shop.workspace.run(program, &["--until-end"]).succeeded();
        let outcomes = secured.kafka.read(&shop.resolved);
        let cut = outcomes.iter().filter(|record| record.header("resolvent-size").is_some()).count();
        assert_eq!((outcomes.len(), cut), (11, 1), "{program:?}");
    }
}

#[test]
fn a_secret_in_a_property_that_is_wrong_is_not_shown() {
    let kafka = Kafka::shared();
    let source = format!(
        "properties = {{ \"sasl.password\" = \"{WRONG}\", \"no.such.property\" = \"{WRONG}\", \"enable.auto.commit\" = \"true\" }}"
    );
    let shop = Shop::new(kafka, 1, &Changes { source: &source, ..Changes::default() });
    let ended = shop.workspace.run(Program::Sedd, &["--until-end"]).failed(2, &["enable.auto.commit"]);
    assert_no_secret(&ended, WRONG);
    shop.replace(", \"enable.auto.commit\" = \"true\"", "");
    let ended = shop.workspace.run(Program::Sedd, &["--until-end"]);
    assert_ne!(ended.code(), 0);
    assert!(ended.stderr.contains("no.such.property"), "{}", ended.stderr);
    assert_no_secret(&ended, WRONG);
}
