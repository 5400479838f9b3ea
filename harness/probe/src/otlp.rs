//! OTLP as the probes speak it: requests are patched together, and looked at no closer than is needed.

pub(crate) mod rpc_status;
pub(crate) mod scan;
pub(crate) mod template;
