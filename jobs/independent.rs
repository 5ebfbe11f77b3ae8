//! `independent`: events as if nothing depended on anything. See [`launch`].

mod launch;

use std::process::ExitCode;

use resolvent::dependency::Mode;

fn main() -> ExitCode {
    launch::main(&launch::Launcher {
        name: "independent",
        mode: Mode::Independent,
        about: "Passes events on at once: no data dependency",
        details: "References are validated but not looked up, and absent from what is written; every event is resolved \
                  as soon as it is read. `--check` says which settings this ignores. Use it for streams that stand \
                  alone, and as the base line that the other modes are measured against.",
    })
}
