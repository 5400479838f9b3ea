//! Kubernetes' own notions, where its client library has none.

mod quantity;

pub(crate) use quantity::quantity_value;
