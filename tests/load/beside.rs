//! What people who ask notice of people who sign in: each sign-in takes a core for some 18 ms, and they share a process.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use portal_proto::auth::v1::CreateSessionRequest;
use portal_proto::auth::v1::session_service_client::SessionServiceClient;
use portal_proto::consent::v1 as pb;
use portal_proto::consent::v1::consent_service_client::ConsentServiceClient;
use portal_proto::consent::v1::decision_service_client::DecisionServiceClient;
use portal_tests::{Channel, PASSWORD, Portal, published_notice, published_purpose};
use tokio::task::JoinSet;

use crate::calls::due;
use crate::report::{Report, line};

/// Decisions a second, at fixed times.
const RATE: u32 = 200;
/// People who sign in again and again, each thirty times a minute at most; and from how many addresses, each three hundred times.
const PEOPLE: usize = 120;
const ADDRESSES: u8 = 16;

/// CheckConsent through the gateway of a `portal up`, alone and beside as many sign-ins as there can be.
pub async fn measure(time: Duration, report: &mut Report) {
    let portal = Portal::start().await;
    let operator = portal.operator().await;
    let controller = portal.staff(&operator, &["controller"]).await;
    let channel = controller.on(&portal.channel().await);
    let purpose = published_purpose(&channel, "measuring").await.purpose_id;
    let notice = published_notice(&channel, "We measure", &[&purpose]).await;
    let anna = portal.person("anna").await;
    let given = pb::GiveConsentRequest {
        subject_id: anna.subject_id.clone(),
        purpose_id: purpose.clone(),
        notice_id: notice.notice_id,
        language: "en".to_owned(),
        method: pb::IndicationMethod::Button.into(),
        ..pb::GiveConsentRequest::default()
    };
    ConsentServiceClient::new(anna.on(&portal.channel().await)).give_consent(given).await.unwrap();

    let decisions = DecisionServiceClient::new(channel);
    let ask = || {
        let question = pb::CheckConsentRequest {
            subject_id: anna.subject_id.clone(),
            purpose_id: purpose.clone(),
            ..pb::CheckConsentRequest::default()
        };
        let mut decisions = decisions.clone();
        async move {
            let reply = decisions.check_consent(question).await.unwrap().into_inner();
            assert_eq!(reply.decision(), pb::Decision::Permit);
        }
    };
    due(RATE, time / 5, ask).await;
    line("CheckConsent, 200 a second", &due(RATE, time, ask).await, 1);

    let people = Arc::new(people(&portal).await);
    let signed_in = Arc::new(AtomicUsize::new(0));
    let mut callers = JoinSet::new();
    for address in 1..=ADDRESSES {
        let from = Channel::connect_from(IpAddr::V4(Ipv4Addr::new(127, 0, 1, address)), portal.address());
        let (from, people, signed_in) = (from.await.unwrap(), Arc::clone(&people), Arc::clone(&signed_in));
        callers.spawn(async move {
            loop {
                let number = signed_in.fetch_add(1, Ordering::Relaxed);
                let email = people[number % people.len()].clone();
                let request = CreateSessionRequest {
                    email,
                    password: PASSWORD.to_owned(),
                    ..CreateSessionRequest::default()
                };
                SessionServiceClient::new(from.clone()).create_session(request).await.unwrap();
            }
        });
    }
    tokio::time::sleep(time / 10).await;
    let (begun, before) = (Instant::now(), signed_in.load(Ordering::Relaxed));
    let beside = due(RATE, time, ask).await;
    let sign_ins = (signed_in.load(Ordering::Relaxed) - before) as f64 / begun.elapsed().as_secs_f64();
    assert!(callers.try_join_next().is_none(), "a caller was refused");
    callers.shutdown().await;
    line(&format!("the same beside {sign_ins:.0} sign-ins a second"), &beside, 1);
    report.budget("beside sign-ins p99 < 5 ms", beside.quantile(0.99).as_secs_f64() < 5e-3);
}

/// Addresses of people who have signed up.
async fn people(portal: &Portal) -> Vec<String> {
    let mut people = Vec::with_capacity(PEOPLE);
    for _ in 0..PEOPLE {
        people.push(portal.register("somebody").await.email);
    }
    people
}
