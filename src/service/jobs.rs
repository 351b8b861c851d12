//! The handlers of `JobService`.
//!
//! Handlers read, ask and answer; they decide nothing.

use std::sync::Arc;

use tonic::{Request, Response, Status, Streaming};

use super::{
    Api,
    audit::{self, Note},
    batch_answer,
    filter::Filter,
    from_proto::{self, Place},
    order::Order,
    outbox::Answers,
    pager::{self, Listing},
    pipeline::Pipeline,
    quote_token::QuotePromise,
    status::ServiceError,
    submit::{all_readable, check_batch},
    summary, to_proto,
    watch::{Jobs, Watch, WatchStream},
};
use crate::{
    controller::{Quote, Submitted},
    domain::{
        ids::Revision,
        job::{Job, JobSpec},
        placement::Placement,
    },
    limits,
    proto::v1::{self, job_service_server::JobService},
    state::{Rejection, command::JobCommand, decide_resubmit::Resubmitted, rejection::Missing},
};

#[tonic::async_trait]
impl JobService for Api {
    type SubmitJobStreamStream = Answers<v1::SubmitJobStreamResponse>;
    type WatchJobsStream = WatchStream<Jobs>;
    type ReadJobLogsStream = Answers<v1::ReadJobLogsResponse>;

    async fn submit_job(
        &self,
        request: Request<v1::SubmitJobRequest>,
    ) -> Result<Response<v1::SubmitJobResponse>, Status> {
        let note = Note::of(request.extensions());
        let submission = from_proto::submission(
            request.into_inner(),
            Place::Alone,
            self.settings(),
            self.now(),
        )?;
        let mut outcomes = self.handle.submit(vec![submission], false).await?;
        let submitted = outcomes.pop().unwrap_or(Err(Rejection::Stopped))?;
        if let Some(note) = note {
            note.about(&submitted.job.id.to_string());
        }
        Ok(Response::new(to_proto::submit_response(
            &submitted,
            self.grid(),
        )))
    }

    async fn submit_jobs(
        &self,
        request: Request<v1::SubmitJobsRequest>,
    ) -> Result<Response<v1::SubmitJobsResponse>, Status> {
        let request = request.into_inner();
        check_batch(&request.items)?;
        let read: Vec<_> = request
            .items
            .into_iter()
            .enumerate()
            .map(|(i, item)| {
                from_proto::submission(item, Place::Item(i), self.settings(), self.now())
            })
            .collect();
        if request.all_or_nothing {
            all_readable(&read)?;
        }
        let outcomes = self.submit_read(read, request.all_or_nothing).await?;
        let items = outcomes.into_iter().map(|outcome| self.batch_item(outcome));
        let mut response = v1::SubmitJobsResponse {
            items: items.collect(),
        };
        batch_answer::shorten(&mut response, limits::BATCH_ANSWER_BYTES_MAX);
        Ok(Response::new(response))
    }

    async fn submit_job_stream(
        &self,
        request: Request<Streaming<v1::SubmitJobStreamRequest>>,
    ) -> Result<Response<Self::SubmitJobStreamStream>, Status> {
        let pipeline = Pipeline {
            chunk_max: limits::STREAM_CHUNK_MAX,
            sequence: |request: &v1::SubmitJobStreamRequest| request.sequence,
            stop: self.stop(),
        };
        let api = self.clone();
        let answers = pipeline.run(request.into_inner(), move |chunk| {
            let api = api.clone();
            async move { api.submit_chunk(chunk).await }
        });
        Ok(Response::new(answers))
    }

    async fn quote_job(
        &self,
        request: Request<v1::QuoteJobRequest>,
    ) -> Result<Response<v1::QuoteJobResponse>, Status> {
        let request = request.into_inner();
        let spec = from_proto::quoted_spec(request.spec.as_ref(), self.settings())?;
        let quote = self.handle.quote(spec.clone()).await?;
        let digest = from_proto::digest_of(request.spec.as_ref());
        Ok(Response::new(self.quote_response(&quote, &spec, digest)))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let id = from_proto::job_id(&request.into_inner().job_id)?;
        let published = self.handle.published();
        let job = published
            .state
            .job(id)
            .ok_or_else(|| Rejection::not_found(Missing::Job, id, std::iter::empty::<String>()))?;
        let job = Some(to_proto::job(job, self.grid()));
        Ok(Response::new(v1::GetJobResponse { job }))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let api = self.clone();
        let request = request.into_inner();
        // A long listing must not keep others from being answered.
        let listed = tokio::task::spawn_blocking(move || api.list(&request)).await;
        let response = listed.unwrap_or_else(|_| Err(Rejection::Stopped.into()))?;
        Ok(Response::new(response))
    }

    async fn watch_jobs(
        &self,
        request: Request<v1::WatchJobsRequest>,
    ) -> Result<Response<Self::WatchJobsStream>, Status> {
        let request = request.into_inner();
        let watch = Watch {
            subject: Jobs(Filter::parse(&request.filter)?),
            start_at: from_proto::start_at(
                "initial_jobs",
                request.initial_jobs,
                request.after_revision,
            )?,
            bookmark_interval: from_proto::bookmark_interval(request.bookmark_interval.as_ref())?,
            stop: self.stop(),
            permit: self.watch_permit()?,
        };
        Ok(Response::new(watch.start(self.handle.subscribe())?))
    }

    async fn explain_job(
        &self,
        request: Request<v1::ExplainJobRequest>,
    ) -> Result<Response<v1::ExplainJobResponse>, Status> {
        let id = from_proto::job_id(&request.into_inner().job_id)?;
        let explanation = self.handle.explain(id).await?;
        let grid = self.grid();
        let job = &explanation.job;
        let newest_first = job.history.iter().rev();
        let suggestions = explanation.suggestions.iter();
        let Revision(revision) = explanation.revision;
        Ok(Response::new(v1::ExplainJobResponse {
            job: Some(to_proto::job(job, grid)),
            summary: summary::of(&explanation, grid),
            sites: explanation
                .sites
                .iter()
                .map(|verdict| to_proto::site_verdict(verdict, grid))
                .collect(),
            history: newest_first
                .map(|change| to_proto::placement_change(change, grid))
                .collect(),
            suggestions: suggestions
                .map(|suggestion| to_proto::suggestion(suggestion, Some(job.end_by)))
                .collect(),
            revision,
        }))
    }

    async fn update_job(
        &self,
        request: Request<v1::UpdateJobRequest>,
    ) -> Result<Response<v1::UpdateJobResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let command = from_proto::update_job(request.into_inner())?;
        let job = Some(self.change_job(command).await?);
        Ok(Response::new(v1::UpdateJobResponse { job }))
    }

    async fn hold_job(
        &self,
        request: Request<v1::HoldJobRequest>,
    ) -> Result<Response<v1::HoldJobResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let command = from_proto::hold_job(request.into_inner())?;
        let job = Some(self.change_job(command).await?);
        Ok(Response::new(v1::HoldJobResponse { job }))
    }

    async fn release_job(
        &self,
        request: Request<v1::ReleaseJobRequest>,
    ) -> Result<Response<v1::ReleaseJobResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let command = from_proto::release_job(request.into_inner())?;
        let job = Some(self.change_job(command).await?);
        Ok(Response::new(v1::ReleaseJobResponse { job }))
    }

    async fn cancel_job(
        &self,
        request: Request<v1::CancelJobRequest>,
    ) -> Result<Response<v1::CancelJobResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let command = from_proto::cancel_job(request.into_inner())?;
        let job = Some(self.change_job(command).await?);
        Ok(Response::new(v1::CancelJobResponse { job }))
    }

    async fn suspend_job(
        &self,
        request: Request<v1::SuspendJobRequest>,
    ) -> Result<Response<v1::SuspendJobResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let command = from_proto::suspend_job(request.into_inner())?;
        let job = Some(self.change_job(command).await?);
        Ok(Response::new(v1::SuspendJobResponse { job }))
    }

    async fn resume_job(
        &self,
        request: Request<v1::ResumeJobRequest>,
    ) -> Result<Response<v1::ResumeJobResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let command = from_proto::resume_job(request.into_inner())?;
        let job = Some(self.change_job(command).await?);
        Ok(Response::new(v1::ResumeJobResponse { job }))
    }

    async fn requeue_job(
        &self,
        request: Request<v1::RequeueJobRequest>,
    ) -> Result<Response<v1::RequeueJobResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let command = from_proto::requeue_job(request.into_inner())?;
        let job = Some(self.change_job(command).await?);
        Ok(Response::new(v1::RequeueJobResponse { job }))
    }

    async fn resubmit_job(
        &self,
        request: Request<v1::ResubmitJobRequest>,
    ) -> Result<Response<v1::ResubmitJobResponse>, Status> {
        audit::about(&request, &request.get_ref().job_id);
        let resubmission = from_proto::resubmission(request.into_inner())?;
        let state = self.handle.published().state.clone();
        let submitted = match state.resubmission(&resubmission, self.now())? {
            Resubmitted::Before(job) => Submitted {
                job,
                already_existed: true,
            },
            Resubmitted::Now(submission) => {
                let mut outcomes = self.handle.submit(vec![submission], false).await?;
                outcomes.pop().unwrap_or(Err(Rejection::Stopped))?
            }
        };
        Ok(Response::new(v1::ResubmitJobResponse {
            job: Some(to_proto::job(&submitted.job, self.grid())),
            already_existed: submitted.already_existed,
        }))
    }

    async fn read_job_logs(
        &self,
        request: Request<v1::ReadJobLogsRequest>,
    ) -> Result<Response<Self::ReadJobLogsStream>, Status> {
        Ok(Response::new(self.read_logs(&request.into_inner())?))
    }
}

impl Api {
    async fn change_job(&self, command: JobCommand) -> Result<v1::Job, Rejection> {
        let job = self.handle.change_job(command).await?;
        Ok(to_proto::job(&job, self.grid()))
    }

    fn quote_response(
        &self,
        quote: &Quote,
        spec: &JobSpec,
        spec_sha256: [u8; 32],
    ) -> v1::QuoteJobResponse {
        let grid = self.grid();
        let proto = |plan: &Placement| to_proto::placement(plan, grid);
        let promise = quote.placement.as_ref().map(|plan| QuotePromise {
            spec_sha256,
            expires_at: quote.expires_at,
            end: grid.start_of(plan.end()),
            green_share_permille: plan.green_share_permille(),
        });
        let end_by = spec.timing.finish_deadline;
        let suggestions = quote.suggestions.iter();
        let sites = quote.sites.iter();
        let Revision(revision) = quote.revision;
        v1::QuoteJobResponse {
            quote_id: promise.as_ref().map(QuotePromise::seal).unwrap_or_default(),
            expire_time: promise.map(|promise| to_proto::time(promise.expires_at)),
            placement: quote.placement.as_ref().map(proto),
            run_now: quote.run_now.as_ref().map(proto),
            moved_job_count: u32::try_from(quote.n_moved).unwrap_or(u32::MAX),
            alternatives: quote.alternatives.iter().map(proto).collect(),
            sites: sites
                .map(|verdict| to_proto::site_verdict(verdict, grid))
                .collect(),
            suggestions: suggestions
                .map(|suggestion| to_proto::suggestion(suggestion, end_by))
                .collect(),
            revision,
        }
    }

    fn list(&self, request: &v1::ListJobsRequest) -> Result<v1::ListJobsResponse, ServiceError> {
        let size = from_proto::page_size(request.page_size)?;
        let filter = Filter::parse(&request.filter)?;
        let order = Order::parse(&request.order_by)?;
        let query = [request.filter.as_str(), request.order_by.as_str()];
        let published = self.handle.published();
        let snapshots = &self.shared.snapshots;
        let (state, cursor) =
            snapshots.open(Listing::Jobs, &query, &request.page_token, &published)?;
        let grid = self.grid();
        let matching = state
            .jobs()
            .values()
            .filter(|job| filter.matches(job, grid));
        let keyed = matching.map(|job| (order.key(job, grid), job));
        let chosen = pager::select(keyed, &cursor, size);
        let page = snapshots.page(&state, &cursor, chosen);
        let job = |job: &Arc<Job>| to_proto::job(job, grid);
        Ok(v1::ListJobsResponse {
            jobs: page.items.into_iter().map(job).collect(),
            next_page_token: page.next_page_token,
            revision: state.revision().0,
        })
    }
}
