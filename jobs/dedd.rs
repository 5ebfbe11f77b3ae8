//! `dedd`: events accepted at once and resolved on later arrival. See [`launch`].

mod launch;

use std::process::ExitCode;

use resolvent::dependency::Mode;

fn main() -> ExitCode {
    launch::main(&launch::Launcher {
        name: "dedd",
        mode: Mode::Deferred,
        about: "Accepts events at once and resolves them later: deferred inter-event data dependency",
        details: "An event is accepted with its epoch; what it lacks is kept in the state, on disk and within a fixed \
                  budget of memory, until its referents arrive. It costs disk, and the complete answer comes later. \
                  Dependencies that name a mode of their own keep it.",
    })
}
