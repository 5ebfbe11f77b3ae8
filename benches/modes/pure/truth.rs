//! The right outcomes, by the reference resolver.
//!
//! It is told the records in the order of their numbers, as they would come without disorder. What is resolved in the end does not depend on the order
//! (README, "What you can rely on"; the tests below hold the reference to that, and the jobs that are measured get their records in disorder). So one pass
//! gives the right outcomes of every point that has the same records, however many of them, and in whichever disorder.
//!
//! The reference forgets nothing, and there are millions of records. But in their order records refer only to one of so many latest, so now and then another
//! one begins, is told these, and goes on; what it says of them a second time does not count.

use std::collections::VecDeque;
use std::io;

use resolvent::config::Job;
use resolvent::decode::{Decoded, Decoder};
use resolvent::event::{Block, Content, Event, PartitionId, Timestamp};
use resolvent::metrics::Checksum;
use resolvent::mode::reference::{Answered, Fate, Reference, Took};
use resolvent::sink::Checksummer;
use resolvent::source::SyntheticSettings;
use resolvent::source::workload::Generator;

/// When another reference begins, and what it is told first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Anew {
    /// After so many records, a whole number of steps.
    pub(crate) after: u64,
    /// Records refer to one of so many latest.
    pub(crate) reach: usize,
}

/// The checksum of the outcomes after each `step` records, up to the last whole step.
///
/// # Errors
///
/// If a record is no event, has not exactly one answer, or none when the step is over: then the workload is not what the comparison is made for.
pub(crate) fn outcomes(
    job: &Job,
    records: &SyntheticSettings,
    step: u64,
    anew: Option<Anew>,
) -> io::Result<Vec<Checksum>> {
    let mut generator = Generator::new(records).map_err(io::Error::other)?;
    let mut decoder = Decoder::new(job.rules.clone(), job.stream_field.as_ref());
    let mut reference = Reference::new(job.rules.clone());
    let (checksummer, mut sum) = (Checksummer::default(), Checksum::default());
    let (mut told, mut line, mut offset) = (Vec::new(), Vec::new(), 0);
    let (mut bytes, mut latest) = (Vec::new(), VecDeque::new());
    for number in 1.. {
        bytes.clear();
        if generator.next(&mut bytes)?.is_none() {
            break;
        }
        let event = decoded(&mut decoder, std::mem::take(&mut bytes), &mut offset, number)?;
        if let Some(Anew { reach, .. }) = anew {
            latest.push_back(event.clone());
            latest.drain(..latest.len().saturating_sub(reach));
        }
        reference.arrive(event);
        if number.is_multiple_of(step) {
            for answered in reference.settle() {
                write_line(job, &answered, &mut line)?;
                checksummer.add(&line, &mut sum);
            }
            if sum.lines != number {
                return Err(io::Error::other(format!("of {number} records {} have an answer", sum.lines)));
            }
            told.push(sum);
        }
        if anew.is_some_and(|anew| number.is_multiple_of(anew.after)) {
            reference = Reference::new(job.rules.clone());
            latest.iter().cloned().for_each(|event| reference.arrive(event));
            reference.settle();
        }
    }
    Ok(told)
}

/// Decodes the one record that is `bytes`.
fn decoded(
    decoder: &mut Decoder,
    bytes: Vec<u8>,
    offset: &mut u64,
    number: u64,
) -> io::Result<resolvent::event::Dependent> {
    let base = *offset;
    *offset += bytes.len() as u64;
    let content = Content::Lines { base, bytes };
    let arrival = Timestamp(i64::try_from(number).unwrap_or(i64::MAX));
    let block = Block { partition: PartitionId(0), stream: None, arrival, content, next_offset: *offset };
    let mut event = None;
    decoder.decode(&block, &mut |decoded| {
        if let Decoded::Event(dependent) = decoded {
            event = Some(*dependent);
        }
    });
    event.ok_or_else(|| io::Error::other(format!("record {number} of the workload is no event")))
}

/// What of an outcome's line counts, written by hand: the job's own code is not asked.
fn write_line(job: &Job, answered: &Answered, line: &mut Vec<u8>) -> io::Result<()> {
    let text = |event: &Event| String::from_utf8_lossy(&event.slice).into_owned();
    let stream = &job.rules.stream(answered.event.header.header.stream).name;
    if answered.fate != Fate::Resolved {
        return Err(io::Error::other(format!("{} is not resolved: {:?}", text(&answered.event), answered.fate)));
    }
    let mut referents = Vec::new();
    for took in &answered.took {
        let Took::OneOf(versions) = took else {
            return Err(io::Error::other(format!("{} is resolved, and lacks something", text(&answered.event))));
        };
        let [version] = versions.as_slice() else {
            return Err(io::Error::other(format!("{} has more than one answer", text(&answered.event))));
        };
        referents.push(text(version));
    }
    // A stream with one dependency by an array: no references are an event of the other stream, or of a mode that joins nothing.
    let dependencies = match referents.as_slice() {
        [] => String::new(),
        referents => format!("\"items\":[{}]", referents.join(",")),
    };
    let event = text(&answered.event);
    *line = format!(r#"{{"outcome":"resolved","stream":"{stream}","event":{event},"dependencies":{{{dependencies}}}"#)
        .into_bytes();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::job::tests::{common, loaded};
    use super::super::job::{Ends, workload};
    use super::super::setting::{BASE, Mode, Setting};
    use super::*;

    const ENDS: Ends = Ends::Synthetic { records: 6_000, rate: 0 };

    fn ordered(setting: &Setting) -> Setting {
        Setting { disorder: 0, late: 0.0, late_by: 0, ..*setting }
    }

    #[test]
    fn the_order_of_the_records_does_not_matter_to_the_reference() {
        for mode in Mode::ALL {
            for setting in
                [BASE, Setting { disorder: 5_000, late: 0.3, late_by: 900, references: 4, skew: 1.0, ..BASE }]
            {
                let job = loaded(mode, &setting, ENDS);
                let of =
                    |setting: &Setting, step| outcomes(&job, &workload(setting, &common(), 6_000), step, None).unwrap();
                let in_disorder = of(&setting, 6_000);
                let in_order = of(&ordered(&setting), 2_000);
                assert_eq!(in_disorder.last(), in_order.last(), "{mode}");
                assert_eq!(in_order.len(), 3);
                assert_eq!(in_order[0].lines, 2_000);
            }
        }
    }

    #[test]
    fn fewer_records_are_the_first_of_more() {
        let job = loaded(Mode::Streaming, &BASE, ENDS);
        let of = |records| outcomes(&job, &workload(&ordered(&BASE), &common(), records), 1_000, None).unwrap();
        assert_eq!(of(3_000), of(6_000)[..3]);
    }

    #[test]
    fn a_reference_that_begins_anew_knows_enough() {
        for setting in [BASE, Setting { references: 4, skew: 1.0, ..BASE }] {
            let job = loaded(Mode::Streaming, &setting, ENDS);
            let of = |anew| outcomes(&job, &workload(&ordered(&setting), &common(), 6_000), 1_000, anew).unwrap();
            let reach = usize::try_from(common().reach).unwrap();
            assert_eq!(of(None), of(Some(Anew { after: 1_000, reach })));
            let too_little = Some(Anew { after: 1_000, reach: 10 });
            let told_less = outcomes(&job, &workload(&ordered(&setting), &common(), 6_000), 1_000, too_little);
            assert!(told_less.unwrap_err().to_string().contains("of 2000 records"));
        }
    }

    #[test]
    fn what_joins_nothing_has_other_outcomes() {
        let of = |mode| {
            outcomes(&loaded(mode, &BASE, ENDS), &workload(&ordered(&BASE), &common(), 1_000), 1_000, None).unwrap()
        };
        assert_eq!(of(Mode::Streaming), of(Mode::Deferred));
        assert_eq!(of(Mode::Streaming), of(Mode::StreamingChanges));
        assert_ne!(of(Mode::Streaming), of(Mode::Independent));
    }
}
