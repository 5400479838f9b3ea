//! A plan as text for people.

use super::rights::RightPlan;
use super::{Bystander, NodePlan, Plan, Removal, StepPlan};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// The width of the text, in characters.
const WIDTH: usize = 110;
/// The column in which the text of a section begins.
const INDENT: usize = 11;

/// Returns a plan as text.
pub fn text(plan: &Plan) -> String {
    let mut page = Page(String::new());
    heading(&mut page, plan);
    tier(&mut page, plan);
    page.section("load", &plan.load);
    if !plan.steps.is_empty() {
        page.section("steps", &format!("{} in all", named(plan, "steps")));
        plan.steps.iter().for_each(|step| step_lines(&mut page, step));
    }
    nodes(&mut page, plan);
    page.section("time", &plan.takes.to_string());
    let rows =
        plan.phases.iter().map(|phase| [phase.name.clone(), phase.takes.to_string(), phase.how.clone()]);
    page.table(&rows.collect::<Vec<_>>());
    rights(&mut page, &plan.rights);
    if !plan.controls.is_empty() {
        page.section("controls", "the same with one thing broken: each must fail");
        let rows = plan
            .controls
            .iter()
            .map(|it| [it.name.clone(), format!("by {}", it.red.join(", ")), it.why.clone()]);
        page.table(&rows.collect::<Vec<_>>());
    }
    if !plan.warnings.is_empty() {
        page.section("warnings", "");
        plan.warnings.iter().for_each(|warning| page.item(warning));
    }
    if plan.can_be_carried_out() {
        page.section("result", "it can be carried out, as far as is known. Nothing was changed.");
    } else {
        page.section("result", "it CANNOT be carried out. Nothing was changed.");
        plan.obstacles.iter().for_each(|obstacle| page.item(obstacle));
    }
    page.0
}

fn named(plan: &Plan, phase: &str) -> String {
    let found = plan.phases.iter().find(|it| it.name == phase);
    found.map_or_else(String::new, |phase| phase.takes.to_string())
}

fn heading(page: &mut Page, plan: &Plan) {
    let control = plan.control.as_ref().map_or_else(String::new, |name| format!(", as its control {name}"));
    let place = &plan.site;
    let workers = place.workers.len();
    let nodes = format!("{workers} workers, and {} of the control plane", place.control_plane);
    let at = match &place.kubernetes {
        None => format!("the kind cluster {}, which would be made: {nodes}", place.cluster),
        Some(version) => format!("{}: Kubernetes {version}, {nodes}", place.cluster),
    };
    let _ = writeln!(page.0, "{}{control}", plan.scenario);
    page.wrapped(2, &plan.about);
    page.section("where", &at);
}

fn tier(page: &mut Page, plan: &Plan) {
    let tier = &plan.tier;
    let (gateways, workers, sinks) = (tier.gateways, plan.site.workers.len(), tier.sinks);
    let size = format!(
        "Collector {}; {gateways} gateways, an agent and an emitter on each of {workers} workers, {sinks} {}",
        tier.collectors.join(", then "),
        if sinks == 1 { "sink" } else { "sinks" },
    );
    page.section("tier", &size);
    let made = format!("made in {}, and removed with it: {}", tier.namespace, by_kind(&tier.objects));
    page.wrapped(INDENT, &made);
    let rows = tier.measures.iter().map(|it| {
        [format!("{} {}", if it.there { '+' } else { '-' }, it.name), it.detail.clone(), String::new()]
    });
    page.table(&rows.collect::<Vec<_>>());
}

/// Joins objects of the same kind, in the order in which they are made: `Deployment gateway, Service agent backend`.
fn by_kind(objects: &[String]) -> String {
    let mut kinds: Vec<(&str, Vec<&str>)> = Vec::new();
    for object in objects {
        let (kind, name) = object.split_once('/').unwrap_or((object, ""));
        match kinds.iter_mut().find(|(known, _)| *known == kind) {
            Some((_, names)) => names.push(name),
            None => kinds.push((kind, vec![name])),
        }
    }
    let said = kinds.iter().map(|(kind, names)| format!("{kind} {}", names.join(" ")));
    said.collect::<Vec<_>>().join(", ")
}

fn step_lines(page: &mut Page, step: &StepPlan) {
    page.labelled(&step.place, &format!("{} ({})", step.what, step.takes));
    if let Some(about) = &step.about {
        let among = about.among.join(", ");
        let among = if about.among.is_empty() { "none".to_owned() } else { among };
        // Pods do not exist yet: only their owners are known.
        let pods = about.among.iter().any(|name| name.contains('/'));
        let order = match (about.at_once, about.number.most) {
            (_, 0 | 1) => "",
            (true, _) => ", at the same time",
            (false, _) if pods => "",
            (false, _) => ", one after the other",
        };
        let whose = if pods { "pods of" } else { "of" };
        page.wrapped(INDENT + 2, &format!("{} {whose} {among}{order}", about.number));
    }
    step.steps.iter().for_each(|step| step_lines(page, step));
}

fn nodes(page: &mut Page, plan: &Plan) {
    if plan.nodes.is_empty() {
        return;
    }
    page.section("drains", "the pods that each moves besides the tier's own");
    let quiet = |node: &&NodePlan| node.moves.is_empty() && node.stops.is_empty() && node.cordoned.is_none();
    let quiet_nodes: Vec<_> = plan.nodes.iter().filter(quiet).map(|node| node.node.as_str()).collect();
    if !quiet_nodes.is_empty() {
        page.item(&format!("{}: none", quiet_nodes.join(", ")));
    }
    for node in plan.nodes.iter().filter(|node| !quiet(node)) {
        let cordoned = node.cordoned.as_ref().map_or_else(String::new, |said| format!(" {said}"));
        page.item(&format!("{}:{cordoned}", node.node));
        page.table(&moved(node));
        for stop in &node.stops {
            let (namespace, pod, why) = (&stop.namespace, &stop.pod, &stop.why);
            page.wrapped(4, &format!("BLOCKS step {}: {namespace}/{pod} {why}", stop.step));
        }
    }
}

/// Returns a row for each group of pods that have the same owner and the same budget.
fn moved(node: &NodePlan) -> Vec<[String; 3]> {
    let mut groups: BTreeMap<(&str, Option<&str>, Removal, String), Vec<&Bystander>> = BTreeMap::new();
    for pod in &node.moves {
        let key = (pod.namespace.as_str(), pod.owner.as_deref(), pod.how, pod.budget.to_string());
        groups.entry(key).or_default().push(pod);
    }
    let rows = groups.into_iter().map(|((namespace, owner, how, budget), pods)| {
        let who = match (&pods[..], owner) {
            ([one], _) => format!("{namespace}/{}", one.pod),
            (several, Some(owner)) => format!("{namespace}: {} pods of {owner}", several.len()),
            (several, None) => format!("{namespace}: {} pods", several.len()),
        };
        let what = match how {
            Removal::Evicted => budget,
            Removal::Deleted => "has finished: deleted".to_owned(),
            Removal::Awaited => "terminating: awaited".to_owned(),
        };
        let owner = owner.map_or_else(|| "no controller".to_owned(), |owner| format!("of {owner}"));
        [who, if pods.len() == 1 { owner } else { String::new() }, what]
    });
    rows.collect()
}

fn rights(page: &mut Page, rights: &[RightPlan]) {
    let missing: Vec<_> = rights.iter().filter(|right| !right.allowed).collect();
    let there =
        if missing.is_empty() { "all there".to_owned() } else { format!("{} MISSING", missing.len()) };
    page.section("rights", &format!("{} needed, {there}", rights.len()));
    let mut places: BTreeMap<&str, BTreeMap<String, Vec<&str>>> = BTreeMap::new();
    for it in rights.iter().filter(|right| right.allowed) {
        let right = &it.right;
        let group = if right.group.is_empty() { String::new() } else { format!(".{}", right.group) };
        let place = right.namespace.as_deref().unwrap_or("in the cluster");
        let resource = format!("{}{group}", right.resource);
        places.entry(place).or_default().entry(resource).or_default().push(&right.verb);
    }
    // Namespaces with the same rights share an entry, and so do resources with the same verbs.
    let mut alike: Vec<(Vec<&str>, Vec<[String; 3]>)> = Vec::new();
    for (place, resources) in places {
        let mut by_verbs: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (resource, verbs) in resources {
            by_verbs.entry(verbs.join(" ")).or_default().push(resource);
        }
        let rows = by_verbs.into_iter().map(|(verbs, resources)| [verbs, resources.join(" "), String::new()]);
        let rows: Vec<_> = rows.collect();
        match alike.iter_mut().find(|(_, known)| *known == rows) {
            Some((places, _)) => places.push(place),
            None => alike.push((vec![place], rows)),
        }
    }
    for (places, rows) in alike {
        page.item(&places.join(", "));
        page.table(&rows);
    }
    for right in missing {
        page.item(&format!("MISSING {right}{}", if right.required { "" } else { "; optional" }));
    }
}

/// Text that grows line by line. Writing to a string cannot fail.
struct Page(String);

impl Page {
    fn section(&mut self, name: &str, said: &str) {
        self.0.push('\n');
        self.labelled_at(0, name, said);
    }

    fn labelled(&mut self, label: &str, said: &str) {
        self.labelled_at(2, label, said);
    }

    /// Appends a label and, in the column after it, the wrapped text.
    fn labelled_at(&mut self, indent: usize, label: &str, said: &str) {
        let mut lines = broken(said, WIDTH - INDENT).into_iter();
        let first = lines.next().unwrap_or_default();
        let label = format!("{:indent$}{label}", "");
        let line = format!("{label:<INDENT$}{first}");
        let line = if label.len() >= INDENT { format!("{label} {first}") } else { line };
        let _ = writeln!(self.0, "{}", line.trim_end());
        lines.for_each(|line| self.line(INDENT, &line));
    }

    fn item(&mut self, said: &str) {
        let mut lines = broken(said, WIDTH - 4).into_iter();
        self.line(2, &lines.next().unwrap_or_default());
        lines.for_each(|line| self.line(4, &line));
    }

    fn wrapped(&mut self, indent: usize, said: &str) {
        for line in broken(said, WIDTH - indent) {
            self.line(indent, &line);
        }
    }

    fn line(&mut self, indent: usize, said: &str) {
        let _ = writeln!(self.0, "{}", format!("{:indent$}{said}", "").trim_end());
    }

    /// Appends rows of three columns. The last one is wrapped.
    fn table(&mut self, rows: &[[String; 3]]) {
        let wide =
            |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default();
        let (first, last) = (wide(0), wide(2));
        // An empty third column makes the second one the last.
        let second = if last == 0 { 0 } else { wide(1) };
        let column = 4 + first + 2 + if second == 0 { 0 } else { second + 2 };
        for row in rows {
            let said = if last == 0 { &row[1] } else { &row[2] };
            let middle = if second == 0 { String::new() } else { format!("{:<second$}  ", row[1]) };
            let mut lines = broken(said, WIDTH.saturating_sub(column).max(30)).into_iter();
            let line = format!("{:<first$}  {middle}{}", row[0], lines.next().unwrap_or_default());
            self.line(4, &line);
            lines.for_each(|line| self.line(column, &line));
        }
    }
}

/// Wraps text between words; a word that is too long stays whole.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
