//! Kubernetes' own notions, where its client library has none.

mod await_condition;
mod quantity;

pub(crate) use await_condition::await_condition;
pub(crate) use quantity::quantity_value;
