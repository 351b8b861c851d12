//! What every client command shares: flags, the connection, the view and the output.
//!
//! A command talks to the server over gRPC only, and connects before it does anything else.

use std::{io, time::Duration};

use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use tonic::transport::{Channel, Endpoint};

use crate::{
    cli::{
        failure::Failure,
        output::{Format, Output, Present},
        time::{self, View},
        tls::TlsArgs,
    },
    proto::v1::{
        admin_service_client::AdminServiceClient, forecast_service_client::ForecastServiceClient,
        job_service_client::JobServiceClient, report_service_client::ReportServiceClient,
        site_service_client::SiteServiceClient,
    },
};

/// Answers larger than this are refused by the client: a page of 1000 jobs with their plans stays well below.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// Flags of every command that talks to a server.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Connection and output")]
pub(crate) struct ClientArgs {
    /// Address of the server.
    #[arg(
        long,
        global = true,
        env = "LANCANG_SERVER",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL"
    )]
    server: String,
    #[command(flatten)]
    tls: TlsArgs,
    /// Tables for people, or canonical protobuf JSON, one object a line.
    #[arg(
        short,
        long,
        global = true,
        env = "LANCANG_OUTPUT",
        default_value = "table",
        value_name = "FORM"
    )]
    output: Format,
    /// Longest wait for an answer, as 30s or 2m.
    #[arg(
        long,
        global = true,
        env = "LANCANG_TIMEOUT",
        default_value = "30s",
        value_name = "DURATION",
        value_parser = time::parse_length
    )]
    timeout: SignedDuration,
    /// Zone of the times shown and of times given without an offset: a name as Asia/Bangkok or an offset.
    #[arg(
        long,
        global = true,
        env = "LANCANG_TIME_ZONE",
        default_value = "+08:00",
        value_name = "ZONE",
        allow_hyphen_values = true,
        value_parser = time::parse_zone
    )]
    time_zone: TimeZone,
}

/// A connection with the way its answers are shown.
pub(crate) struct Session {
    channel: Channel,
    output: Box<dyn Output>,
    /// How times read.
    pub(crate) view: View,
    /// When the command began; relative times count from here.
    pub(crate) now: Timestamp,
    /// The form of output.
    pub(crate) format: Format,
}

impl ClientArgs {
    /// Connects to the server.
    pub(crate) async fn connect(&self) -> Result<Session, Failure> {
        let timeout = Duration::try_from(self.timeout)
            .ok()
            .filter(|timeout| !timeout.is_zero())
            .ok_or_else(|| Failure::Usage("--timeout must be longer than 0".to_owned()))?;
        let endpoint = self.tls.endpoint(&self.server)?;
        let channel = dial(endpoint, &self.server, timeout).await?;
        let view = View {
            zone: self.time_zone.clone(),
        };
        Ok(Session {
            channel,
            output: self.output.output(view.clone(), io::stdout()),
            view,
            now: time::now(),
            format: self.output,
        })
    }

    /// Shows an answer that needed no server.
    pub(crate) fn show(&self, item: &dyn Present) -> Result<(), Failure> {
        let view = View {
            zone: self.time_zone.clone(),
        };
        self.output.output(view, io::stdout()).show(item)
    }
}

/// Connects a channel to a server without encryption, on which every call has this time-out.
pub(crate) async fn connect(server: &str, timeout: Duration) -> Result<Channel, Failure> {
    dial(TlsArgs::default().endpoint(server)?, server, timeout).await
}

async fn dial(endpoint: Endpoint, server: &str, timeout: Duration) -> Result<Channel, Failure> {
    endpoint
        .connect_timeout(timeout.min(Duration::from_secs(10)))
        .timeout(timeout)
        .tcp_nodelay(true)
        .connect()
        .await
        .map_err(|source| Failure::Connect {
            server: server.to_owned(),
            source,
        })
}

impl Session {
    /// Shows one answer.
    pub(crate) fn show(&mut self, item: &dyn Present) -> Result<(), Failure> {
        self.output.show(item)
    }

    /// Client of the job service.
    pub(crate) fn jobs(&self) -> JobServiceClient<Channel> {
        JobServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Client of the site service.
    pub(crate) fn sites(&self) -> SiteServiceClient<Channel> {
        SiteServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Client of the forecast service.
    pub(crate) fn forecasts(&self) -> ForecastServiceClient<Channel> {
        ForecastServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Client of the report service.
    pub(crate) fn reports(&self) -> ReportServiceClient<Channel> {
        ReportServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    /// Client of the admin service.
    pub(crate) fn admin(&self) -> AdminServiceClient<Channel> {
        AdminServiceClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wrong_address_is_wrong_usage_and_a_closed_port_is_unavailable() {
        let wrong = connect("not a url", Duration::from_secs(1))
            .await
            .unwrap_err();
        assert_eq!(wrong.exit(), 64);
        let closed = connect("http://127.0.0.1:1", Duration::from_secs(5))
            .await
            .unwrap_err();
        assert_eq!(closed.exit(), 69);
    }

    /// What a call on a listener that behaves like this fails with.
    async fn call_of(
        listener: tokio::net::TcpListener,
        timeout: Duration,
        serve: impl AsyncFn(tokio::net::TcpStream),
    ) -> Failure {
        let server = format!("http://{}", listener.local_addr().unwrap());
        let call = async {
            let channel = connect(&server, timeout).await.unwrap();
            let request = crate::proto::v1::GetSiteRequest::default();
            let answer = SiteServiceClient::new(channel).get_site(request).await;
            Failure::from(answer.unwrap_err())
        };
        let serving = async {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                serve(stream).await;
            }
        };
        tokio::select! {
            failure = call => failure,
            () = serving => unreachable!("it listens for ever"),
        }
    }

    async fn listener() -> tokio::net::TcpListener {
        tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap()
    }

    #[tokio::test]
    async fn a_broken_connection_is_unavailable_whenever_it_breaks() {
        let timeout = Duration::from_secs(30);
        let at_once = call_of(listener().await, timeout, async |stream| drop(stream)).await;
        assert_eq!(at_once.exit(), 69, "{at_once:?}");
        let after_the_call = async |stream: tokio::net::TcpStream| {
            stream.readable().await.unwrap();
        };
        let later = call_of(listener().await, timeout, after_the_call).await;
        assert_eq!(later.exit(), 69, "{later:?}");
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_in_time_is_unavailable() {
        let silent = async |stream: tokio::net::TcpStream| {
            let _open = stream;
            std::future::pending::<()>().await;
        };
        let late = call_of(listener().await, Duration::from_millis(50), silent).await;
        assert_eq!(late.exit(), 69, "{late:?}");
        assert_eq!(
            late.lines(),
            [
                "error: the server did not answer within --timeout; what was asked may have been done"
            ]
        );
    }
}
