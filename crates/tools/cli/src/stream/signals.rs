//! Signals that the user sends to this process while it stands for a process in a container.

use client::Client;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use crate::error::Error;

/// Those that a person or a supervisor sends. Job control stays with this process.
const FORWARDED: &[(SignalKind, &str)] = &[
    (SignalKind::hangup(), "HUP"),
    (SignalKind::interrupt(), "INT"),
    (SignalKind::quit(), "QUIT"),
    (SignalKind::user_defined1(), "USR1"),
    (SignalKind::user_defined2(), "USR2"),
    (SignalKind::alarm(), "ALRM"),
    (SignalKind::terminate(), "TERM"),
];

/// Tasks that end with this value.
pub struct Tasks(Vec<JoinHandle<()>>);

impl Drop for Tasks {
    fn drop(&mut self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Hands signals on to the container for as long as the returned value lives. Registered at once: a signal that
/// arrives after this call is not lost.
pub fn forward(client: &Client, id: &str) -> std::io::Result<Tasks> {
    let (sender, mut receiver) = mpsc::unbounded_channel();
    let mut tasks = Vec::new();
    for (kind, name) in FORWARDED {
        let mut incoming: Signal = signal(*kind)?;
        let sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            while incoming.recv().await.is_some() && sender.send(*name).is_ok() {}
        }));
    }
    let (client, id) = (client.clone(), id.to_owned());
    tasks.push(tokio::spawn(async move {
        while let Some(name) = receiver.recv().await {
            // A container that has just ended needs no signal any more.
            let _ = client::containers::kill(&client, &id, name).await;
        }
    }));
    Ok(Tasks(tasks))
}

/// Gives the terminal back before a signal ends this process, for as long as the returned value lives.
pub fn restore_terminal() -> std::io::Result<Tasks> {
    let mut tasks = Vec::new();
    for kind in [SignalKind::hangup(), SignalKind::interrupt(), SignalKind::quit(), SignalKind::terminate()] {
        let mut incoming: Signal = signal(kind)?;
        tasks.push(tokio::spawn(async move {
            if incoming.recv().await.is_some() {
                super::terminal::restore();
                std::process::exit(128 + kind.as_raw_value());
            }
        }));
    }
    Ok(Tasks(tasks))
}

/// Does `work` until its end, or until a signal asks this process to end: then the work is dropped, which closes its
/// connection and so cancels it at the server, and the answer is an error without words and with the signal's exit code.
pub async fn interruptible<T>(work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let kind = tokio::select! {
        done = work => return done,
        _ = hangup.recv() => SignalKind::hangup(),
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    Err(Error::silent(u8::try_from(128 + kind.as_raw_value()).unwrap_or(1)))
}

/// What has a terminal whose size follows ours.
#[derive(Debug, Clone)]
pub enum Screen {
    Container(String),
    Exec(String),
}

/// Keeps the size of a terminal in a container equal to ours for as long as the returned value lives.
pub fn follow_size(client: &Client, screen: Screen) -> std::io::Result<Tasks> {
    let mut changes = signal(SignalKind::window_change())?;
    let client = client.clone();
    let task = tokio::spawn(async move {
        // The process may still be on its way: try again for a while.
        let mut pause = std::time::Duration::from_millis(10);
        while resize(&client, &screen).await.is_err() && pause < std::time::Duration::from_secs(1) {
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        while changes.recv().await.is_some() {
            let _ = resize(&client, &screen).await;
        }
    });
    Ok(Tasks(vec![task]))
}

async fn resize(client: &Client, screen: &Screen) -> client::Result<()> {
    let Some((rows, columns)) = super::terminal::size() else { return Ok(()) };
    let (rows, columns) = (rows.into(), columns.into());
    match screen {
        Screen::Container(id) => client::containers::resize(client, id, rows, columns).await,
        Screen::Exec(id) => client::exec::resize(client, id, rows, columns).await,
    }
}
