//! The codes of errors that tonic itself answers, brought to what the API promises.
//!
//! An error of ours always carries details and passes untouched; a call never outlives its own deadline.

use std::{future::Future, pin::Pin, time::Duration};

use tonic::{
    Code, Status,
    codegen::{Service, http},
};
use tower::Layer;

use super::status::with_reason;
use crate::{limits, proto::v1::ErrorReason};

/// Most that is taken off a deadline, for the answer to leave before tonic's own timer answers CANCELLED.
const HEAD_START_MAX: Duration = Duration::from_millis(100);

/// Corrects codes and keeps deadlines.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct CodesLayer;

/// A service behind [`CodesLayer`].
#[derive(Debug, Clone)]
pub(super) struct Codes<S> {
    inner: S,
}

impl<S> Layer<S> for CodesLayer {
    type Service = Codes<S>;

    fn layer(&self, inner: S) -> Codes<S> {
        Codes { inner }
    }
}

impl<S, B, R> Service<http::Request<B>> for Codes<S>
where
    S: Service<http::Request<B>, Response = http::Response<R>>,
    S::Future: Send + 'static,
    R: Default + 'static,
    S::Error: 'static,
{
    type Response = http::Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(
        &mut self,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> Self::Future {
        let deadline = match timeout_of(request.headers()) {
            Ok(deadline) => deadline,
            Err(status) => return Box::pin(async move { Ok(response(status)) }),
        };
        let answer = self.inner.call(request);
        Box::pin(async move {
            let answer = match deadline {
                None => answer.await,
                Some(after) => match tokio::time::timeout(after, answer).await {
                    Ok(answer) => answer,
                    Err(_) => return Ok(response(deadline_exceeded())),
                },
            };
            answer.map(correct_headers)
        })
    }
}

/// The status with the code that the API promises.
pub(super) fn corrected(status: Status) -> Status {
    if !status.details().is_empty() {
        return status;
    }
    match status.code() {
        Code::OutOfRange => with_reason(
            Code::ResourceExhausted,
            ErrorReason::MessageTooLarge,
            format!(
                "the message is larger than {} bytes; send less in one call",
                limits::REQUEST_BYTES_MAX
            ),
        ),
        Code::Internal => with_reason(
            Code::InvalidArgument,
            ErrorReason::InvalidFields,
            format!(
                "the message cannot be decoded: {}",
                shorten(status.message())
            ),
        ),
        _ => status,
    }
}

/// An error without a body has its status in the headers; those of ours have details.
fn correct_headers<R: Default>(answer: http::Response<R>) -> http::Response<R> {
    let headers = answer.headers();
    if !headers.contains_key("grpc-status") || headers.contains_key("grpc-status-details-bin") {
        return answer;
    }
    match Status::from_header_map(headers) {
        Some(status) if matches!(status.code(), Code::OutOfRange | Code::Internal) => {
            response(corrected(status))
        }
        _ => answer,
    }
}

fn response<R: Default>(status: Status) -> http::Response<R> {
    status.into_http()
}

fn deadline_exceeded() -> Status {
    Status::deadline_exceeded(
        "the deadline of the call has passed; a write may still take effect, repeat it with the same key to learn",
    )
}

/// Reads `grpc-timeout`: up to 8 digits and a unit.
fn timeout_of(headers: &http::HeaderMap) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get("grpc-timeout") else {
        return Ok(None);
    };
    let wrong = || {
        with_reason(
            Code::InvalidArgument,
            ErrorReason::InvalidFields,
            "grpc-timeout is 1 to 8 digits and a unit of H, M, S, m, u or n".into(),
        )
    };
    let text = value.to_str().map_err(|_| wrong())?;
    let unit = text.chars().last().ok_or_else(wrong)?;
    let digits = &text[..text.len() - unit.len_utf8()];
    let well_formed = (1..=8).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let amount: u64 = digits
        .parse()
        .ok()
        .filter(|_| well_formed)
        .ok_or_else(wrong)?;
    let timeout = match unit {
        'H' => Duration::from_secs(amount * 3_600),
        'M' => Duration::from_secs(amount * 60),
        'S' => Duration::from_secs(amount),
        'm' => Duration::from_millis(amount),
        'u' => Duration::from_micros(amount),
        'n' => Duration::from_nanos(amount),
        _ => return Err(wrong()),
    };
    Ok(Some(timeout - (timeout / 10).min(HEAD_START_MAX)))
}

/// Decoders tell the whole way to a broken field; its start is enough.
fn shorten(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_strictly() {
        let read = |text: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("grpc-timeout", text.parse().unwrap());
            timeout_of(&headers).map_err(|status| status.code())
        };
        let ms = |ms| Ok(Some(Duration::from_millis(ms)));
        assert_eq!(read("500m"), ms(450));
        assert_eq!(read("10S"), ms(9_900));
        assert_eq!(read("0m"), ms(0));
        assert!(read("99999999H").is_ok());
        for text in [
            "",
            "S",
            "1",
            "123456789S",
            "1x",
            "-1S",
            "1.5S",
            "1 S",
            "+1S",
        ] {
            assert_eq!(read(text), Err(Code::InvalidArgument), "{text:?}");
        }
    }

    #[test]
    fn only_errors_without_details_are_corrected() {
        let codes = |status: Status| corrected(status).code();
        assert_eq!(codes(Status::out_of_range("")), Code::ResourceExhausted);
        assert_eq!(codes(Status::internal("")), Code::InvalidArgument);
        assert_eq!(codes(Status::unimplemented("")), Code::Unimplemented);
        let ours = with_reason(
            Code::OutOfRange,
            ErrorReason::RevisionCompacted,
            String::new(),
        );
        assert_eq!(codes(ours), Code::OutOfRange);
    }
}
