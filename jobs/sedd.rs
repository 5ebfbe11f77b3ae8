//! `sedd`: events resolved in memory at stream time. See [`launch`].

mod launch;

use std::process::ExitCode;

use resolvent::dependency::Mode;

fn main() -> ExitCode {
    launch::main(&launch::Launcher {
        name: "sedd",
        mode: Mode::Streaming,
        about: "Resolves events at stream time: streaming inter-event data dependency",
        details: "An event leaves complete the moment its last referent is there. Referents and waiting events are kept \
                  in memory, up to `[streaming] memory`; it costs memory, and data latency in the stream. Dependencies \
                  that name a mode of their own keep it.",
    })
}
