//! TLS, SASL/SCRAM and ACLs of a real broker, with right and wrong credentials; and no secret anywhere.

use super::shop::{Changes, Shop};
use crate::support::{BrokerSettings, Ended, Kafka, Program, STRANGER, USER, orders};

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
