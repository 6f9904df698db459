//! `rkt-stage1 run UUID`: runs the pod in the working directory.
//! `rkt-stage1 gc UUID`: undoes what the network of that pod, which is over,
//! still has of the host.
//! `rkt-stage1 attach UUID APP STREAM,…`: connects to streams of an app.
//! `rkt-stage1 enter UUID APP PROGRAM…`: runs a program in an app of that pod.
//! `rkt-stage1 check UUID`: looks whether that pod still has its networks.
//! `rkt-stage1 networks status|gc`: asks networks without a pod; they stand on
//! standard input.

use std::process::ExitCode;

use manifests::engine::EXIT_FAILURE;

fn main() -> ExitCode {
    #[cfg(feature = "without-protections")]
    stage1::protection::execute_where_it_is();
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let words: Vec<_> = arguments.iter().map(|a| a.to_str().unwrap_or("")).collect();
    let status = match words.as_slice() {
        ["enter", _, app, _program, ..] => stage1::enter::run(app, arguments[3..].to_vec())
            .unwrap_or_else(|error| {
                stage1::error::say(format_args!("enter: {}", error.line()));
                error.exit_status()
            }),
        ["run", uuid] => stage1::supervisor::run(uuid).unwrap_or_else(|error| {
            stage1::error::say(format_args!("run: {}", error.line()));
            error.exit_status()
        }),
        ["attach", _, app, streams] => stage1::attach::run(app, streams).unwrap_or_else(|error| {
            stage1::error::say(format_args!("attach: {}", error.line()));
            error.exit_status()
        }),
        ["update", _, app] => status("update", stage1::update::run(app)),
        ["gc", uuid] => status("gc", stage1::supervisor::collect(uuid)),
        ["check", uuid] => status("check", stage1::supervisor::check(uuid)),
        ["networks", verb @ ("status" | "gc")] => status(verb, stage1::supervisor::ask(verb)),
        _ => {
            stage1::error::say(format_args!(
                "usage: rkt-stage1 run|gc|check UUID, rkt-stage1 update UUID APP, rkt-stage1 attach UUID APP STREAM,…, \
                 rkt-stage1 enter UUID APP PROGRAM…, in the \
                 directory of a pod; rkt does this"
            ));
            EXIT_FAILURE
        }
    };
    // A wait status has eight bits, and so have an app's.
    ExitCode::from(u8::try_from(status).unwrap_or(u8::MAX))
}

fn status(verb: &str, done: Result<(), stage1::error::Error>) -> i32 {
    match done {
        Ok(()) => 0,
        Err(error) => {
            stage1::error::say(format_args!("{verb}: {}", error.line()));
            error.exit_status()
        }
    }
}
