//! Where answers go: tables for people or JSON for programs, on standard output; talk goes to standard error.
//!
//! Standard output carries data only, so `-o json` can be piped anywhere.

use std::io::{self, Write};

use prost::Message;

use crate::cli::{
    failure::Failure,
    json,
    time::{self, View},
};

/// A message of the API that can be shown.
pub(crate) trait Table: Message + Sized {
    /// Full name in the protobuf files.
    const NAME: &'static str;

    /// The message as text for people, without a final line break.
    fn table(&self, view: &View) -> String;
}

/// Anything that can be shown.
pub(crate) trait Present {
    /// One line of JSON.
    fn json(&self) -> Result<String, Failure>;

    /// Text for people, without a final line break.
    fn text(&self, view: &View) -> String;
}

impl<T: Table> Present for T {
    fn json(&self) -> Result<String, Failure> {
        json::write(T::NAME, &self.encode_to_vec())
    }

    fn text(&self, view: &View) -> String {
        self.table(view)
    }
}

/// A form of output.
pub(crate) trait Output {
    /// Writes one answer.
    fn show(&mut self, item: &dyn Present) -> Result<(), Failure>;
}

/// The form asked for with `-o`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// Tables for people.
    Table,
    /// Canonical protobuf JSON, one object a line.
    Json,
}

impl Format {
    /// Shows one answer on standard output; times in it stand in Yunnan's zone.
    pub(crate) fn show(self, item: &dyn Present) -> Result<(), Failure> {
        let view = View {
            zone: time::yunnan(),
        };
        self.output(view, io::stdout()).show(item)
    }

    /// The output of this form to `sink`.
    pub(crate) fn output<W: Write + 'static>(self, view: View, sink: W) -> Box<dyn Output> {
        match self {
            Self::Table => Box::new(TableOutput { view, sink }),
            Self::Json => Box::new(JsonOutput { sink }),
        }
    }
}

struct TableOutput<W> {
    view: View,
    sink: W,
}

impl<W: Write> Output for TableOutput<W> {
    fn show(&mut self, item: &dyn Present) -> Result<(), Failure> {
        let text = item.text(&self.view);
        if text.is_empty() {
            return Ok(());
        }
        line(&mut self.sink, &text)
    }
}

struct JsonOutput<W> {
    sink: W,
}

impl<W: Write> Output for JsonOutput<W> {
    fn show(&mut self, item: &dyn Present) -> Result<(), Failure> {
        line(&mut self.sink, &item.json()?)
    }
}

/// Writes a line and flushes it, so that a pipe sees every event at once.
fn line(sink: &mut impl Write, text: &str) -> Result<(), Failure> {
    writeln!(sink, "{text}")
        .and_then(|()| sink.flush())
        .map_err(Failure::Stdout)
}

/// Writes a line of data to standard output.
pub(crate) fn say(text: &str) -> Result<(), Failure> {
    line(&mut io::stdout().lock(), text)
}

/// Writes a line of talk to standard error; when that fails there is nobody to tell.
pub(crate) fn talk(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
