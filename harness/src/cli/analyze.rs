//! `spanproof analyze`: judges a stored run again.

use super::{CommandEnd, Failure, print};
use clap::Args;
use spanproof::record::Record;
use spanproof::{judge, report};
use std::path::PathBuf;

#[derive(Args)]
pub(super) struct Options {
    /// The run folder
    #[arg(value_name = "RUN")]
    folder: PathBuf,
    /// Print the judgement as JSON, as in verdict.json
    #[arg(long)]
    json: bool,
}

pub(super) fn main(options: &Options) -> Result<CommandEnd, Failure> {
    let record = Record::read(&options.folder).map_err(|error| {
        (
            miette::miette!(help = "a run folder is what `spanproof run` prints last", "{error}"),
            CommandEnd::BadInput,
        )
    })?;
    let judgement = judge::judge(&record);
    if options.json {
        let text = serde_json::to_string_pretty(&judgement);
        print(&(text.map_err(|error| (miette::miette!("{error}"), CommandEnd::HarnessFailed))? + "\n"));
    } else {
        print(&report::verdict(&judgement));
    }
    Ok(CommandEnd::Judged(judgement.verdict))
}
