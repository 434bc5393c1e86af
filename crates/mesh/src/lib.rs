//! portal-mesh
#![forbid(unsafe_code)]
