//! Topics as a source of a job that writes files.

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::support::{
    BrokerSettings, Ended, Kafka, PATIENCE, Program, STRANGER, Sent, USER, Workspace, eventually, get, result_set,
    tls_properties, unique,
};

/// Keys of posts.
const KEYS: [&str; 10] = ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"];

/// A job that reads two topics and writes files.
struct Shop {
    workspace: Workspace,
    posts: String,
    likes: String,
}

impl Shop {
    fn new(posts: &str, likes: &str, brokers: &str, source: &str) -> Shop {
        let shop = Shop { workspace: Workspace::new(), posts: posts.to_owned(), likes: likes.to_owned() };
        shop.configure(brokers, source);
        shop
    }

    fn configure(&self, brokers: &str, source: &str) {
        let Shop { workspace, posts, likes } = self;
        let job = format!(
            "[job]\nname = \"{likes}\"\nworkers = 2\n\n\
             [[stream]]\nname = \"post\"\nkey = \"@key\"\n\n\
             [[stream]]\nname = \"like\"\ndepends_on = [ {{ entity = \"post\", by = \"/post\" }} ]\n\n\
             [source.kafka]\nbrokers = \"{brokers}\"\ntopics = {{ \"{posts}\" = \"post\", \"{likes}\" = \"like\" }}\n{source}\n\n\
             [sink.resolved]\nfile = \"resolved.jsonl\"\n[sink.dead_letter]\nfile = \"dead.jsonl\"\n"
        );
        workspace.write("job.toml", job);
    }

    fn on(kafka: &Kafka, partitions: i32, source: &str) -> Shop {
        Shop::new(&kafka.topic("posts", partitions), &kafka.topic("likes", partitions), kafka.address(), source)
    }

    fn run(&self, program: Program) -> Ended {
        self.workspace.run(program, &["--until-end"])
    }

    fn post(&self, kafka: &Kafka, partition: i32, key: &str) {
        kafka.send(&self.posts, [Sent { partition, key: Some(key.as_bytes()), value: Some(b"{}"), ..Sent::default() }]);
    }

    fn like(&self, kafka: &Kafka, partition: i32, post: &str) {
        let value = format!("{{\"post\":{post}}}");
        kafka.send(&self.likes, [Sent { partition, value: Some(value.as_bytes()), ..Sent::default() }]);
    }

    /// The positions of resolved events, sorted, without the names of topics.
    fn resolved(&self) -> Vec<String> {
        let resolved = self.workspace.outcomes().into_iter().filter(|outcome| outcome.outcome == "resolved");
        let plain = |position: String| position.replace(&self.posts, "posts").replace(&self.likes, "likes");
        let mut positions: Vec<String> = resolved.map(|outcome| plain(outcome.position)).collect();
        positions.sort();
        positions
    }
}

/// Puts values into partition 0 of a topic in one transaction.
fn send_in_transaction(kafka: &Kafka, topic: &str, values: &[(&str, &str)], commit: bool) {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka.address()).set("transactional.id", unique("writer"));
    let producer: BaseProducer = config.create().unwrap();
    producer.init_transactions(PATIENCE).unwrap();
    producer.begin_transaction().unwrap();
    for (key, value) in values {
        producer.send(BaseRecord::to(topic).partition(0).key(*key).payload(*value)).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
    if commit { producer.commit_transaction(PATIENCE) } else { producer.abort_transaction(PATIENCE) }.unwrap();
}

#[test]
fn two_topics_are_read_to_their_end_and_read_on_by_the_next_run() {
    let kafka = Kafka::shared();
    for program in [Program::Sedd, Program::Dedd] {
        let shop = Shop::on(kafka, 2, "");
        let values = KEYS.map(|key| format!("{{\"post\":{key}}}"));
        let likes = (0..).zip(&values).map(|(n, value)| Sent {
            partition: n % 2,
            value: Some(value.as_bytes()),
            ..Sent::default()
        });
        kafka.send(&shop.likes, likes);
        let post = |(n, key): (i32, &'static str)| Sent {
            partition: n / 2 % 2,
            key: Some(key.as_bytes()),
            value: Some(b"{}"),
            ..Sent::default()
        };
        kafka.send(&shop.posts, (0..).zip(KEYS).map(post));
        shop.run(program).succeeded();
        assert_eq!(shop.resolved().len(), 20);
        let group = format!("resolvent-{}", shop.likes);
        assert_eq!(kafka.committed(&group, &shop.likes), [Some(5), Some(5)]);
        // Referents of the first run are there in the second.
        shop.like(kafka, 0, "7");
        shop.like(kafka, 0, "\"7\"");
        shop.run(program).succeeded();
        assert_eq!(shop.resolved().len(), 21);
        assert!(shop.resolved().contains(&"likes:0:5".to_owned()));
        assert_eq!(result_set(&shop.workspace.outcomes()).values().sum::<u64>(), 21);
    }
}

#[test]
fn the_end_is_found_behind_control_records_and_what_was_aborted_is_not_read() {
    let kafka = Kafka::shared();
    let shop = Shop::on(kafka, 1, "");
    send_in_transaction(kafka, &shop.posts, &[("1", "{}"), ("2", "{}")], true);
    send_in_transaction(kafka, &shop.posts, &[("3", "{}")], false);
    send_in_transaction(kafka, &shop.likes, &[("a", "{\"post\":1}"), ("b", "{\"post\":3}")], true);
    shop.run(Program::Sedd).succeeded();
    assert_eq!(shop.resolved(), ["likes:0:0", "posts:0:0", "posts:0:1"]);
    shop.run(Program::Sedd).succeeded();
    assert_eq!(shop.resolved().len(), 3);
}

#[test]
fn partitions_that_are_added_are_read_from_their_beginning() {
    let kafka = Kafka::shared();
    let shop = Shop::on(kafka, 1, "start = \"latest\"");
    let mut running = shop.workspace.start(Program::Sedd, &["--metrics", "127.0.0.1:0"]);
    let address = running.metrics_address();
    eventually("ready", || get(&address, "/readyz").filter(|(status, _)| *status == 200));
    kafka.grow(&shop.posts, 2);
    shop.post(kafka, 1, "1");
    shop.like(kafka, 0, "1");
    eventually("both are resolved", || (shop.resolved() == ["likes:0:0", "posts:1:0"]).then_some(()));
    let lag =
        format!("resolvent_partition_lag_records{{partition=\"0\",topic=\"{}\",job=\"{}\"}} 0", shop.likes, shop.likes);
    let (_, metrics) =
        eventually("the lag is told", || get(&address, "/metrics").filter(|(_, text)| text.contains(&lag)));
    assert!(metrics.contains("resolvent_source_lag_records{"), "{metrics}");
    running.terminate();
    running.wait().succeeded();
}

#[test]
fn a_topic_that_was_made_anew_is_refused_with_advice() {
    let kafka = Kafka::shared();
    let shop = Shop::on(kafka, 1, "");
    (0..3).for_each(|n| shop.post(kafka, 0, &n.to_string()));
    shop.run(Program::Dedd).succeeded();
    kafka.delete(&shop.posts);
    shop.run(Program::Dedd).failed(1, &[&shop.posts, "does not exist", "create_topics"]);
    kafka.create(&shop.posts, 1, &[]);
    shop.run(Program::Dedd).failed(1, &[&shop.posts, "ends at offset 0", "deleted and made anew", "--fresh"]);
    (10..14).for_each(|n| shop.post(kafka, 0, &n.to_string()));
    shop.run(Program::Dedd).failed(1, &[&shop.posts, "offset 2", "deleted and made anew", "--fresh"]);
}

#[test]
fn a_job_waits_for_a_broker_that_is_not_there_and_stops_when_it_is_told_to() {
    let shop = Shop::new("posts", "likes", "127.0.0.1:9", "");
    let running = shop.workspace.start(Program::Sedd, &[]);
    eventually("it says so", || running.stderr().contains("waiting for the brokers at 127.0.0.1:9").then_some(()));
    running.terminate();
    let ended = running.wait();
    assert!(ended.stderr.contains("stopped while it waited"), "{}", ended.stderr);
}

#[test]
fn wrong_credentials_certificates_and_permissions_are_told_apart() {
    let settings = BrokerSettings { is_secured: true, ..BrokerSettings::brief() };
    let Some(mut kafka) = Kafka::own("a broker that asks who is there", settings) else { return };
    let (posts, likes) = (kafka.topic("posts", 1), kafka.topic("likes", 1));
    let (tls, sasl) = (kafka.broker().tls_address(), kafka.broker().sasl_address());
    let certificate = kafka.broker().certificate();
    let shop = Shop::new(&posts, &likes, &tls, "");
    shop.post(&kafka, 0, "1");
    shop.like(&kafka, 0, "1");
    let properties = |pairs: &[(&str, String)]| {
        let pairs: Vec<String> = pairs.iter().map(|(name, value)| format!("\"{name}\" = \"{value}\"")).collect();
        format!("properties = {{ {} }}", pairs.join(", "))
    };
    let login = |(user, password): (&str, &str)| {
        let mut all = tls_properties(&certificate);
        all.retain(|(name, _)| *name != "security.protocol");
        let more = [
            ("security.protocol", "SASL_SSL"),
            ("sasl.mechanism", "SCRAM-SHA-256"),
            ("sasl.username", user),
            ("sasl.password", password),
        ];
        all.extend(more.map(|(name, value)| (name, value.to_owned())));
        properties(&all)
    };
    shop.configure(&tls, &properties(&[("security.protocol", "SSL".to_owned())]));
    shop.run(Program::Sedd).failed(1, &["no TLS connection", "ssl.ca.location"]);
    shop.configure(&sasl, &login((USER.0, "wrong-horse")));
    let refused = shop.run(Program::Sedd).failed(1, &["refuse the credentials", "sasl.password"]);
    assert!(!refused.stderr.contains("wrong-horse"), "{}", refused.stderr);
    shop.configure(&sasl, &login(STRANGER));
    shop.run(Program::Sedd).failed(1, &["no permission for topic", "ACL"]);
    shop.configure(&sasl, &login(USER));
    shop.run(Program::Sedd).succeeded();
    assert_eq!(shop.resolved(), ["likes:0:0", "posts:0:0"]);
    let checked = shop.workspace.run(Program::Sedd, &["--check"]).succeeded();
    assert!(checked.stdout.contains("sasl.password") && !checked.stdout.contains(USER.1), "{}", checked.stdout);
}
