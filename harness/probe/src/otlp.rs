//! OTLP for the probes: requests are made from templates, and only the needed fields are read.

pub(crate) mod rpc_status;
pub(crate) mod scan;
pub(crate) mod template;
