//! Notices on the wire.

use std::collections::{BTreeMap, HashMap};

use portal_core::Invalid;
use portal_core::id::{Id, NoticeId, PurposeId};
use portal_mesh::convert::timestamp;
use portal_proto::consent::v1 as pb;
use prost::Message;

use super::purposes::which;
use super::{etag, id, optional_id, revision, state};
use crate::app::notices::Target;
use crate::domain::language::Language;
use crate::domain::notice::{Notice, Patch, Text};
use crate::store::Which;

const MAX_BODY: usize = 64 * 1_024;
const MAX_BODIES: usize = 60;
const MAX_PURPOSES: usize = 100;

pub(in crate::service) fn create(request: pb::CreateNoticeRequest) -> Result<Text, Invalid> {
    let Some(notice) = request.notice else {
        return Err(Invalid::field("notice", "must be set"));
    };
    let mut invalid = Invalid::new();
    let title = title(&mut invalid, notice.title);
    let bodies = bodies(&mut invalid, notice.bodies);
    let purposes = purposes(&mut invalid, &notice.purpose_ids);
    let material_change = notice.material_change;
    invalid.finish(title.map(|title| Text { title, bodies, purposes, material_change }))
}

pub(in crate::service) fn update(request: pb::UpdateNoticeRequest) -> Result<(Target, Patch), Invalid> {
    let Some(notice) = request.notice else {
        return Err(Invalid::field("notice", "must be set"));
    };
    let mut invalid = Invalid::new();
    let id = id(&mut invalid, "notice.notice_id", &notice.notice_id);
    let etag = etag(&mut invalid, "notice.etag", &notice.etag);
    let paths = request.update_mask.unwrap_or_default().paths;
    if paths.is_empty() {
        invalid.add("update_mask", "must name at least one field");
    }
    let mut patch = Patch::default();
    for path in paths {
        match path.as_str() {
            "bodies" => patch.bodies = Some(bodies(&mut invalid, notice.bodies.clone())),
            "material_change" => patch.material_change = Some(notice.material_change),
            "purpose_ids" => patch.purposes = Some(purposes(&mut invalid, &notice.purpose_ids)),
            "title" => patch.title = title(&mut invalid, notice.title.clone()),
            _ => invalid.add("update_mask", "must name fields of a notice that a caller can change"),
        }
    }
    invalid.finish(id.map(|id| (Target { id, etag }, patch)))
}

pub(in crate::service) fn target(notice_id: &str, version: &str) -> Result<Target, Invalid> {
    let mut invalid = Invalid::new();
    let id = id(&mut invalid, "notice_id", notice_id);
    let etag = etag(&mut invalid, "etag", version);
    invalid.finish(id.map(|id| Target { id, etag }))
}

pub(in crate::service) fn get(
    request: &pb::GetNoticeRequest,
    sees_drafts: bool,
) -> Result<(NoticeId, Which), Invalid> {
    let mut invalid = Invalid::new();
    let id = id(&mut invalid, "notice_id", &request.notice_id);
    let which = which(&mut invalid, request.revision, sees_drafts);
    invalid.finish(id.zip(which))
}

pub(in crate::service) fn purpose_filter(purpose_id: &str) -> Result<Option<PurposeId>, Invalid> {
    let mut invalid = Invalid::new();
    let purpose = optional_id(&mut invalid, "purpose_id", purpose_id);
    invalid.finish(purpose)
}

pub(in crate::service) fn message(notice: &Notice) -> pb::Notice {
    let facts = notice.life.facts();
    let text = &notice.text;
    pb::Notice {
        notice_id: notice.id.to_string(),
        title: text.title.clone(),
        bodies: text.bodies.iter().map(|(language, body)| (language.to_string(), body.clone())).collect(),
        purpose_ids: text.purposes.iter().map(ToString::to_string).collect(),
        material_change: text.material_change,
        revision: revision(notice.revision),
        content_hash: notice.content_hash.clone().unwrap_or_default(),
        state: state(notice.state()).into(),
        etag: facts.version.to_string(),
        create_time: Some(timestamp(facts.created_at)),
        update_time: Some(timestamp(facts.updated_at)),
    }
}

pub(in crate::service) fn encode(notice: &Notice) -> Vec<u8> {
    message(notice).encode_to_vec()
}

pub(in crate::service) fn position(id: NoticeId) -> [u8; 16] {
    id.uuid().into_bytes()
}

/// A request that creates or changes a notice, in a form that is equal for equal requests: a map has no order on the
/// wire, so the bodies are taken out and put first, sorted.
pub(in crate::service) fn content<R: Message>(
    mut request: R,
    notice: impl FnOnce(&mut R) -> Option<&mut pb::Notice>,
) -> Vec<u8> {
    let bodies = notice(&mut request).map(|notice| std::mem::take(&mut notice.bodies)).unwrap_or_default();
    let bodies: BTreeMap<String, String> = bodies.into_iter().collect();
    let mut content = (bodies.len() as u64).to_be_bytes().to_vec();
    for part in bodies.iter().flat_map(|(language, body)| [language, body]) {
        content.extend_from_slice(&(part.len() as u64).to_be_bytes());
        content.extend_from_slice(part.as_bytes());
    }
    content.extend(request.encode_to_vec());
    content
}

fn title(invalid: &mut Invalid, value: String) -> Option<String> {
    invalid.text("notice.title", value, 1, 200)
}

fn bodies(invalid: &mut Invalid, values: HashMap<String, String>) -> BTreeMap<Language, String> {
    const FIELD: &str = "notice.bodies";
    if values.is_empty() || values.len() > MAX_BODIES {
        invalid.add(FIELD, format_args!("must have 1 to {MAX_BODIES} languages"));
        return BTreeMap::new();
    }
    let mut bodies = BTreeMap::new();
    for (tag, body) in values.into_iter().collect::<BTreeMap<_, _>>() {
        let Some(language) = invalid.check(FIELD, Language::parse(&tag)) else { continue };
        let path = format!("{FIELD}[{language}]");
        if body.len() > MAX_BODY {
            invalid.add(&path, "must have at most 64 KiB");
        } else if let Some(body) = invalid.text(&path, body, 1, MAX_BODY)
            && bodies.insert(language, body).is_some()
        {
            invalid.add(&path, "must not be a repetition in another letter case");
        }
    }
    bodies
}

fn purposes(invalid: &mut Invalid, values: &[String]) -> Vec<PurposeId> {
    const FIELD: &str = "notice.purpose_ids";
    if values.is_empty() || values.len() > MAX_PURPOSES {
        invalid.add(FIELD, format_args!("must have 1 to {MAX_PURPOSES} items"));
        return Vec::new();
    }
    let mut purposes = Vec::with_capacity(values.len());
    for (index, text) in values.iter().enumerate() {
        let path = format!("{FIELD}[{index}]");
        match id::<PurposeId>(invalid, &path, text) {
            Some(id) if purposes.contains(&id) => invalid.add(&path, "must not be a repetition"),
            Some(id) => purposes.push(id),
            None => {}
        }
    }
    purposes
}
