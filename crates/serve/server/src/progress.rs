//! Answers of long operations: one message a line, and the failure as the last one.

use std::pin::Pin;

use api::JsonMessage;
use engine::Error;
use tokio::sync::mpsc;

use crate::answer::{self, Result};

/// The end of an operation.
pub struct Last {
    pub messages: Vec<JsonMessage>,
    /// What goes on after them until the answer ends.
    pub rest: Option<Work>,
}

impl From<Vec<JsonMessage>> for Last {
    fn from(messages: Vec<JsonMessage>) -> Last {
        Last { messages, rest: None }
    }
}

/// An operation, and what comes of it.
pub type Work = Pin<Box<dyn Future<Output = engine::Result<Last>> + Send>>;

/// Streams what `work` reports. A failure before the first message is an ordinary error answer with its status;
/// a later one is a last message, which `failed` writes. Dropping the answer drops `work`.
pub async fn answer<T: Send + 'static, L: Into<Last>>(
    reports: mpsc::Receiver<T>,
    encode: impl FnMut(T) -> Vec<JsonMessage> + Send + 'static,
    work: impl Future<Output = engine::Result<L>> + Send + 'static,
    failed: fn(Error) -> JsonMessage,
) -> Result {
    let work: Work = Box::pin(async move { work.await.map(Into::into) });
    let mut operation =
        Operation { reports, encode, work: Some(work), ready: Vec::new().into_iter(), error: None };
    let first = match operation.next().await {
        Some(Err(error)) => return Err(error.into()),
        Some(Ok(message)) => Some(message),
        None => None,
    };
    let lines = futures_util::stream::unfold((first, operation), move |(first, mut operation)| async move {
        let message = match first {
            Some(message) => message,
            None => operation.next().await?.unwrap_or_else(failed),
        };
        let line = answer::line(&message, "\r\n").map_err(|failure| std::io::Error::other(failure.message));
        Some((line, (None, operation)))
    });
    Ok(answer::stream("application/json", lines))
}

struct Operation<T, F> {
    reports: mpsc::Receiver<T>,
    encode: F,
    work: Option<Work>,
    ready: std::vec::IntoIter<JsonMessage>,
    error: Option<Error>,
}

impl<T, F: FnMut(T) -> Vec<JsonMessage>> Operation<T, F> {
    /// The next message, the failure after the last of them, or the end.
    async fn next(&mut self) -> Option<Result<JsonMessage, Error>> {
        loop {
            if let Some(message) = self.ready.next() {
                return Some(Ok(message));
            }
            let report = match &mut self.work {
                Some(work) => tokio::select! {
                    biased;
                    Some(report) = self.reports.recv() => report,
                    end = work => {
                        self.finish(end);
                        continue;
                    }
                },
                None => return self.error.take().map(Err),
            };
            self.ready = (self.encode)(report).into_iter();
        }
    }

    fn finish(&mut self, end: engine::Result<Last>) {
        self.work = None;
        let mut last = Vec::new();
        while let Ok(report) = self.reports.try_recv() {
            last.extend((self.encode)(report));
        }
        match end {
            Ok(Last { messages, rest }) => {
                last.extend(messages);
                self.work = rest;
            }
            Err(error) => self.error = Some(error),
        }
        self.ready = last.into_iter();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt as _;

    async fn run(messages: &[&str], end: engine::Result<Vec<JsonMessage>>) -> Result<String> {
        let (sender, receiver) = mpsc::channel(8);
        for text in messages {
            sender.send((*text).to_owned()).await.unwrap();
        }
        let work = async move {
            drop(sender);
            end
        };
        let failed = |e: Error| JsonMessage::error(1, e.message);
        let answer = answer(receiver, |text| vec![JsonMessage::stream(text)], work, failed).await?;
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn early_failures_have_a_status_and_late_ones_are_lines() {
        let early = run(&[], Err(Error::not_found("no"))).await.unwrap_err();
        assert_eq!((early.status.as_u16(), early.message.as_str()), (404, "no"));
        assert_eq!(
            run(&["a"], Err(Error::system("no"))).await.unwrap(),
            "{\"stream\":\"a\"}\r\n{\"errorDetail\":{\"code\":1,\"message\":\"no\"},\"error\":\"no\"}\r\n"
        );
        assert_eq!(
            run(&["a", "b"], Ok(vec![JsonMessage::stream("c")])).await.unwrap(),
            "{\"stream\":\"a\"}\r\n{\"stream\":\"b\"}\r\n{\"stream\":\"c\"}\r\n"
        );
        assert_eq!(run(&[], Ok(Vec::new())).await.unwrap(), "");
    }

    #[tokio::test]
    async fn what_comes_after_the_last_message_ends_with_the_answer() {
        let (held, mut gone) = mpsc::channel::<()>(1);
        let rest: Work = Box::pin(async move {
            let _held = held;
            std::future::pending().await
        });
        let work = async { Ok(Last { messages: vec![JsonMessage::stream("done")], rest: Some(rest) }) };
        let (_, reports) = mpsc::channel(1);
        let failed = |e: Error| JsonMessage::error(1, e.message);
        let answer = answer(reports, |text: &str| vec![JsonMessage::stream(text)], work, failed);
        let mut body = answer.await.unwrap().into_body();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "{\"stream\":\"done\"}\r\n");
        assert!(gone.try_recv().is_err_and(|error| error == mpsc::error::TryRecvError::Empty));
        drop(body);
        assert_eq!(gone.recv().await, None);
    }
}
