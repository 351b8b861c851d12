//! Many items at once: a bounded window of unanswered requests, a progress bar, a tally of refusals.
//!
//! At most a window's worth of requests is unanswered, so that a lost connection leaves little in doubt.

use std::{
    io::{self, IsTerminal},
    sync::Arc,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tokio::sync::{Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::Code;

use crate::{
    cli::{
        client::Session,
        failure::{Failure, exit_of, item_error_lines},
        output::{Format, talk},
    },
    proto::v1,
};

/// A stream of requests of which at most `window` are unanswered at a time.
pub(crate) struct Window {
    permits: Arc<Semaphore>,
}

impl Window {
    /// Sends `items` in the background; each answer must be reported with [`Window::answered`].
    pub(crate) fn open<T: Send + 'static>(
        items: Vec<T>,
        window: usize,
    ) -> (Self, ReceiverStream<T>) {
        let permits = Arc::new(Semaphore::new(window));
        let (sender, receiver) = mpsc::channel(window);
        let gate = Arc::clone(&permits);
        tokio::spawn(async move {
            for item in items {
                let Ok(permit) = gate.acquire().await else {
                    return;
                };
                permit.forget();
                if sender.send(item).await.is_err() {
                    return;
                }
            }
        });
        (Self { permits }, ReceiverStream::new(receiver))
    }

    /// Makes room for one more request.
    pub(crate) fn answered(&self) {
        self.permits.add_permits(1);
    }
}

/// A bar on a terminal, nothing elsewhere.
pub(crate) fn progress(total: usize, noun: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(u64::try_from(total).ok(), target());
    styled(
        bar,
        "{bar:40} {pos}/{len} {msg}, {per_sec}, {eta} left",
        noun,
    )
}

/// A count on a terminal, nothing elsewhere: for work of which nobody knows the end.
pub(crate) fn counter(noun: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, target());
    styled(bar, "{spinner} {pos} {msg}, {per_sec}", noun)
}

fn target() -> ProgressDrawTarget {
    if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    }
}

fn styled(bar: ProgressBar, template: &str, noun: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template(template);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(noun);
    bar
}

/// Counts what became of many items.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    accepted: usize,
    refused: usize,
    exit: Option<u8>,
}

impl Tally {
    /// Counts an accepted item.
    pub(crate) fn accept(&mut self) {
        self.accepted += 1;
    }

    /// Counts a refused item and, for people, says why.
    pub(crate) fn refuse(&mut self, session: &Session, name: &str, error: &v1::ItemError) {
        if session.format == Format::Table {
            for (idx, line) in item_error_lines(error).into_iter().enumerate() {
                talk(&if idx == 0 {
                    format!("refused {name}: {line}")
                } else {
                    line
                });
            }
        }
        self.count_refusal(error.code);
    }

    fn count_refusal(&mut self, code: i32) {
        self.refused += 1;
        let exit = exit_of(Code::from(code));
        self.exit = match self.exit {
            None => Some(exit),
            Some(agreed) if agreed == exit => Some(exit),
            Some(_) => Some(1),
        };
    }

    /// Success when nothing was refused; says the counts either way.
    pub(crate) fn result(self) -> Result<(), Failure> {
        talk(&format!(
            "{} accepted, {} refused",
            self.accepted, self.refused
        ));
        match self.exit {
            None => Ok(()),
            Some(exit) => Err(Failure::Refused {
                refused: self.refused,
                total: self.accepted + self.refused,
                exit,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio_stream::StreamExt;

    use super::*;

    #[tokio::test]
    async fn a_window_lets_no_more_through_than_it_holds() {
        let (window, mut items) = Window::open((0..5).collect(), 2);
        assert_eq!(items.next().await, Some(0));
        assert_eq!(items.next().await, Some(1));
        let waiting = tokio::time::timeout(Duration::from_millis(20), items.next()).await;
        assert!(waiting.is_err(), "the third must wait for an answer");
        window.answered();
        assert_eq!(items.next().await, Some(2));
    }

    #[test]
    fn refusals_that_agree_give_their_exit_code() {
        let mut tally = Tally::default();
        tally.accept();
        tally.count_refusal(9);
        tally.count_refusal(9);
        assert_eq!(tally.exit, Some(2));
        tally.count_refusal(3);
        assert_eq!(tally.result().unwrap_err().exit(), 1);
    }
}
