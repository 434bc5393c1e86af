//! What the gateway answers itself: health, which tells of the services behind it too, and reflection.

use std::collections::BTreeMap;
use std::time::Duration;

use portal_core::Workload;
use portal_mesh::{Drain, MeshChannel, Readiness};
use prost_reflect::DescriptorPool;
use tonic::service::Routes;
use tonic::{Code, Request};
use tonic_health::ServingStatus;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus as Answered;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::server::{HealthReporter, health_reporter};

use crate::forward::Target;

/// How often each service is asked.
const INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(2);

/// Health or reflection can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The descriptors can't be served.
    #[error("reflection can't serve the descriptors")]
    Reflection(#[from] tonic_reflection::server::Error),
}

/// The services, and what keeps health true.
pub(crate) fn services() -> Result<(Routes, HealthWatch), LocalError> {
    let (reporter, health) = health_reporter();
    let reflection = tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(portal_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        .build_v1()?;
    Ok((Routes::new(health).add_service(reflection), HealthWatch { reporter, told: BTreeMap::new() }))
}

/// Watches the services and reports: each service by its name, each workload by its name, and all of it as the empty name.
pub(crate) struct HealthWatch {
    reporter: HealthReporter,
    told: BTreeMap<String, bool>,
}

impl HealthWatch {
    /// Asks `upstreams` again and again until the drain starts.
    pub(crate) async fn watch(
        mut self,
        upstreams: Vec<(Workload, MeshChannel)>,
        pool: DescriptorPool,
        readiness: Readiness,
        drain: Drain,
    ) {
        let names: Vec<(Target, String)> = pool
            .services()
            .filter_map(|service| {
                let name = service.full_name().to_owned();
                Target::of(&format!("/{name}/")).map(|target| (target, name))
            })
            .collect();
        drop(pool);
        self.tell("", false).await;
        let mut stop = std::pin::pin!(drain.started());
        loop {
            tokio::select! {
                () = &mut stop => break,
                () = self.ask_all(&upstreams, &names, &readiness) => {}
            }
            tokio::select! {
                () = &mut stop => break,
                () = tokio::time::sleep(INTERVAL) => {}
            }
        }
        self.tell("", false).await;
    }

    async fn ask_all(
        &mut self,
        upstreams: &[(Workload, MeshChannel)],
        names: &[(Target, String)],
        readiness: &Readiness,
    ) {
        let asked =
            upstreams.iter().map(|(workload, channel)| async move { (*workload, serves(channel).await) });
        let answers = futures_util::future::join_all(asked).await;
        for (workload, serving) in &answers {
            self.tell(workload.name(), *serving).await;
            let of_workload = |target: Target| target == Target::Service(*workload);
            for (_, name) in names.iter().filter(|(target, _)| of_workload(*target)) {
                self.tell(name, *serving).await;
            }
        }
        let all = readiness.is_ready() && answers.iter().all(|(_, serving)| *serving);
        self.tell("", all).await;
    }

    async fn tell(&mut self, name: &str, serving: bool) {
        if self.told.get(name) != Some(&serving) {
            self.told.insert(name.to_owned(), serving);
            let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
            self.reporter.set_service_status(name, status).await;
        }
    }
}

/// Whether a service serves. One that answers anything but UNAVAILABLE is up: not every service lets the gateway ask.
async fn serves(channel: &MeshChannel) -> bool {
    let mut request = Request::new(HealthCheckRequest::default());
    request.set_timeout(TIMEOUT);
    match HealthClient::new(channel.as_workload()).check(request).await {
        Ok(answer) => answer.into_inner().status() == Answered::Serving,
        Err(status) => !matches!(status.code(), Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled),
    }
}
