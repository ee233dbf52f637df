//! What became of a further process.

use api::exec::{Inspect, ProcessConfig};

use super::{held, monitor};
use crate::Engine;
use crate::error::Result;

/// One further process of a container.
pub async fn inspect(engine: &Engine, id: &str) -> Result<Inspect> {
    let id = id.to_owned();
    engine
        .brief(move |engine| {
            let (state, container_id) = match held::ended(engine, &id) {
                Some(ended) => ended,
                None => {
                    let (mut connection, container) = monitor(engine, &id)?;
                    (connection.exec_inspect(&id)?, container)
                }
            };
            let mut args = state.create.process.args.into_iter();
            Ok(Inspect {
                id,
                running: state.running,
                exit_code: state.exit_code.map(i64::from),
                process_config: ProcessConfig {
                    tty: state.create.tty,
                    entrypoint: args.next().unwrap_or_default(),
                    arguments: args.collect(),
                    privileged: Some(state.create.privileged),
                    user: state.create.user,
                },
                open_stdin: state.create.stdin,
                open_stderr: state.create.stderr,
                open_stdout: state.create.stdout,
                can_remove: false,
                container_id,
                detach_keys: state.create.detach_keys.unwrap_or_default(),
                pid: i64::from(state.pid),
            })
        })
        .await
}
