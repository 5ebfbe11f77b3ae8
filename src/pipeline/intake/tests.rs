use super::*;

fn block() -> Item {
    let content = Content::Lines { base: 0, bytes: b"{}\n".to_vec() };
    let (partition, stream, arrival) = (PartitionId(0), None, Timestamp(0));
    Item::Block(Block { partition, stream, arrival, content, next_offset: 3 })
}

/// Bounds that no test reaches by chance.
fn limits(blocks: usize) -> Limits {
    let (epoch, bytes) = (Duration::from_secs(3600), 1 << 20);
    Limits { epoch, epoch_bytes: bytes, blocks, one_reader: false, sink_bytes: bytes, slices_bytes: bytes }
}

#[test]
fn time_is_held_only_while_the_queue_is_full_and_no_worker_may_take() {
    let limits = Limits { sink_bytes: 10, slices_bytes: 5, ..limits(2) };
    let intake = Intake::new(limits, 1, Positions::default(), Metrics::new("test"));
    // An item comes or not, the epoch is open or not, bytes of lines wait; then: is the time held, and is a block taken.
    let cases = [
        (true, false, 0, false, false),
        (true, false, 0, true, false),
        (false, true, 11, true, false),
        (false, true, 10, false, true),
        (false, true, 11, false, false),
        (true, true, 11, true, false),
        (false, false, 0, true, false),
    ];
    for (at, (comes, open, lines, held, taken)) in cases.into_iter().enumerate() {
        if comes {
            assert!(intake.push(block()));
        }
        {
            let mut inner = intake.lock();
            inner.waiting_lines = lines;
            inner.open = open;
            inner.opened = Instant::now();
        }
        let took = matches!(intake.take(0, Backlog::None, false), Taken::Block(_));
        assert_eq!((intake.lock().held_since.is_some(), took), (held, taken), "case {at}");
    }
    assert_eq!(intake.closed().bytes, 3);
}

#[test]
fn what_has_no_room_is_held_back_while_some_of_it_is_about_to_leave() {
    let intake = Intake::new(limits(1), 2, Positions::default(), Metrics::new("social"));
    let take = |worker| intake.take(worker, Backlog::None, false);
    intake.open(Epoch(1), Phase::Live);
    // What is no block needs no room.
    intake.tell_room(1, Room::Soon);
    assert!(intake.push(Item::CaughtUp));
    assert!(matches!(take(0), Taken::Nothing));
    assert!(intake.push(block()));
    for worker in [0, 1] {
        assert!(matches!(take(worker), Taken::Nothing));
    }
    std::thread::sleep(Duration::from_millis(2));
    assert!(intake.lock().held_so_far().memory >= Duration::from_millis(2));
    assert_eq!(intake.lock().held_so_far().commit, Duration::ZERO);
    // Nothing leaves any more: the worker that is full is told, and no other.
    intake.tell_room(1, Room::Never);
    assert!(matches!((take(0), take(1)), (Taken::Nothing, Taken::NoRoom)));
    // Nothing leaves before all that was there at the start has been read.
    intake.restart();
    intake.open(Epoch(2), Phase::CatchUp);
    intake.tell_room(1, Room::Soon);
    assert!(matches!((take(0), take(1)), (Taken::Nothing, Taken::NoRoom)));
    intake.tell_room(1, Room::Free);
    assert!(matches!(take(0), Taken::Block(_)));
    assert!(intake.push(Item::CaughtUp));
    assert!(intake.push(block()));
    assert!(matches!(take(0), Taken::Block(_)));
    intake.tell_room(0, Room::Soon);
    assert!(intake.push(block()));
    assert!(matches!(take(0), Taken::Nothing));
}

/// Nobody but the reading thread comes by where a commit hangs.
#[test]
fn a_commit_that_hangs_counts_while_it_does() {
    let limits = Limits { epoch_bytes: 3, ..limits(1) };
    let metrics = Metrics::new("social");
    let intake = Intake::new(limits, 1, Positions::default(), metrics.clone());
    intake.open(Epoch(1), Phase::Live);
    assert!(intake.push(block()));
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Block(_)));
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Closed(Epoch(1))));
    assert!(intake.push(block()));
    assert!(!intake.wait_for_room(Duration::from_millis(20)));
    let text = metrics.gather();
    let value = |cause: &str| {
        let series = format!("resolvent_backpressure_seconds_total{{cause=\"{cause}\"");
        let line = text.lines().find(|line| line.starts_with(&series)).expect("it is exported");
        line.rsplit(' ').next().and_then(|value| value.parse::<f64>().ok()).expect("a number")
    };
    assert!(value("commit") >= 0.02 && value("workers") < 0.01, "{text}");
}

/// With a thousand partitions to announce, a wait for each few of them comes to many seconds.
#[test]
fn whatever_leaves_a_full_queue_makes_room() {
    for item in [block(), Item::Partition(PartitionId(0), 7), Item::CaughtUp] {
        let intake = Intake::new(limits(1), 1, Positions::default(), Metrics::new("test"));
        intake.open(Epoch(1), Phase::Live);
        let said = format!("{item:?}");
        assert!(intake.push(item));
        let made_room = std::thread::scope(|scope| {
            let (tell, told) = std::sync::mpsc::channel();
            let reading = &intake;
            scope.spawn(move || {
                reading.wait_for_room(Duration::from_secs(3600));
                let _ = tell.send(());
            });
            // The other thread should be waiting by now; the test holds, and shows less, where it is not.
            std::thread::sleep(Duration::from_millis(100));
            intake.take(0, Backlog::None, false);
            let made_room = told.recv_timeout(Duration::from_secs(20)).is_ok();
            intake.finish(false);
            made_room
        });
        assert!(made_room, "{said} makes no room");
    }
}

#[test]
fn what_is_revoked_is_given_up_once_all_of_it_is_committed() {
    let intake = Intake::new(limits(8), 1, Positions([(PartitionId(0), 9)].into()), Metrics::new("social"));
    intake.open(Epoch(1), Phase::Live);
    for item in [Item::Partition(PartitionId(0), 1), block(), Item::Revoked] {
        assert!(intake.push(item));
    }
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Block(_)));
    assert!(!intake.closed().revoked, "there is an epoch before the one that ends with it");
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Closed(Epoch(1))));
    let closed = intake.closed();
    // Read on from where the group said, and not from where this process was before.
    assert!(closed.revoked && closed.positions == Positions([(PartitionId(0), 3)].into()));
    assert!(!intake.wait_for_commit(Duration::ZERO));
    intake.given_up();
    assert!(intake.wait_for_commit(Duration::ZERO) && !intake.closed().revoked);
}

#[test]
fn nothing_behind_an_end_is_taken_before_the_next_source_begins() {
    let intake = Intake::new(limits(8), 1, Positions::default(), Metrics::new("social"));
    intake.open(Epoch(1), Phase::Replay);
    for item in [Item::End, block(), Item::CaughtUp] {
        assert!(intake.push(item));
    }
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Closed(Epoch(1))));
    let closed = intake.closed();
    assert!(closed.ended && !closed.caught_up && closed.positions == Positions::default());

    intake.restart();
    intake.open(Epoch(2), Phase::CatchUp);
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Block(_)));
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Nothing));
    intake.stop();
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Closed(Epoch(2))));
    assert!(intake.closed().caught_up);
}

/// A job whose input has ended would otherwise sit out its last epoch: with one worker nobody else comes by to close it.
#[test]
fn the_end_closes_the_epoch_of_who_takes_it_unless_something_is_left_to_do() {
    let intake = Intake::new(limits(8), 1, Positions::default(), Metrics::new("social"));
    intake.open(Epoch(1), Phase::Live);
    assert!(intake.push(block()) && intake.push(Item::End));
    assert!(matches!(intake.take(0, Backlog::Slices, false), Taken::Block(_)));
    assert!(matches!(intake.take(0, Backlog::Slices, false), Taken::Nothing));
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Closed(Epoch(1))));
    intake.restart();
    intake.open(Epoch(2), Phase::Live);
    assert!(intake.push(Item::End));
    assert!(matches!(intake.take(0, Backlog::None, false), Taken::Closed(Epoch(2))));
}

#[test]
fn a_queue_that_was_full_has_room_when_half_of_it_is_gone() {
    let blocks = 4;
    let intake = Intake::new(limits(blocks), 1, Positions::default(), Metrics::new("social"));
    intake.open(Epoch(1), Phase::Live);
    for _ in 0..blocks {
        assert!(intake.wait_for_room(Duration::ZERO));
        assert!(intake.push(block()));
    }
    for _ in 0..blocks / 2 {
        // Whoever waits already goes on waiting; who comes now takes what room there is.
        let is_full = intake.lock().queue.len() == blocks;
        assert_eq!(intake.wait_for_room(Duration::from_millis(1)), !is_full);
        assert!(matches!(intake.take(0, Backlog::None, false), Taken::Block(_)));
    }
    assert!(intake.wait_for_room(Duration::ZERO));
}

/// A commit that begins after the queue was full, and before half of it is gone, keeps the reading thread waiting as well.
#[test]
fn what_holds_back_a_reading_thread_that_waits_counts_though_the_queue_is_no_longer_full() {
    let intake = Intake::new(limits(4), 1, Positions::default(), Metrics::new("social"));
    intake.open(Epoch(1), Phase::Live);
    for _ in 0..4 {
        assert!(intake.push(block()));
    }
    std::thread::scope(|scope| {
        scope.spawn(|| intake.wait_for_room(Duration::from_secs(3600)));
        while !intake.lock().reader_waits {
            std::thread::yield_now();
        }
        assert!(matches!(intake.take(0, Backlog::None, false), Taken::Block(_)));
        assert!(matches!(intake.take(0, Backlog::None, true), Taken::Closed(Epoch(1))));
        std::thread::sleep(Duration::from_millis(2));
        assert!(intake.lock().held_so_far().commit >= Duration::from_millis(2));
        intake.finish(false);
    });
}
