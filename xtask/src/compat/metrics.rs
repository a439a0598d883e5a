//! The metrics of both servers after the same requests: each family of etcd must be there, with its type, the names of
//! its labels and, for calls, with their values.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use anyhow::Result;

use super::http;

/// Families that count what clients called, so that both servers must have the same samples.
const OF_CALLS: [&str; 2] = ["grpc_server_started_total", "grpc_server_msg_received_total"];

/// Families whose samples follow from what a server has met by itself, and one that differs in a decided way: an alarm
/// that has ended stays at 0 in etcd, and has no sample here.
const BY_CHANCE: [&str; 3] =
    ["etcd_debugging_store_reads_total", "etcd_debugging_store_writes_total", "etcd_debugging_server_alarms"];

/// A family: its type, the names of its labels, and all samples without their values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Family {
    kind: String,
    labels: BTreeSet<String>,
    samples: BTreeSet<String>,
}

/// What differs between the metrics of the reference and ours; a line for each.
///
/// # Errors
/// If one of them does not answer.
pub(super) async fn compare(reference: SocketAddr, ours: SocketAddr) -> Result<Vec<String>> {
    let (reference, ours) = (scrape(reference).await?, scrape(ours).await?);
    Ok(differences(&reference, &ours))
}

async fn scrape(address: SocketAddr) -> Result<BTreeMap<String, Family>> {
    let request = http::Request { method: "GET", path: "/metrics", headers: Vec::new(), body: Vec::new() };
    Ok(parse(&http::text(address, &request).await?))
}

fn differences(reference: &BTreeMap<String, Family>, ours: &BTreeMap<String, Family>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, theirs) in reference.iter().filter(|(name, _)| !BY_CHANCE.contains(&name.as_str())) {
        let Some(ours) = ours.get(name) else {
            found.push(format!("metric {name} is missing"));
            continue;
        };
        if ours.kind != theirs.kind || ours.labels != theirs.labels {
            found.push(format!(
                "metric {name} is a {} with {:?}, not a {} with {:?}",
                ours.kind, ours.labels, theirs.kind, theirs.labels
            ));
        }
        if OF_CALLS.contains(&name.as_str()) {
            let missing: Vec<_> = theirs.samples.difference(&ours.samples).collect();
            if !missing.is_empty() {
                found.push(format!("metric {name} has not {missing:?}"));
            }
        }
    }
    for name in ours.keys().filter(|name| !reference.contains_key(*name)) {
        // What etcd does not have has a name of its own.
        if !name.starts_with("etched_") && !BY_CHANCE.contains(&name.as_str()) {
            found.push(format!("metric {name} is none of etcd's"));
        }
    }
    found
}

/// Reads the text form of Prometheus.
fn parse(text: &str) -> BTreeMap<String, Family> {
    let mut families: BTreeMap<String, Family> = BTreeMap::new();
    for line in text.lines() {
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' ')) {
            families.entry(name.to_owned()).or_default().kind = kind.to_owned();
        }
    }
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((sample, _)) = line.rsplit_once(' ') else { continue };
        let (name, labels) = sample.split_once('{').unwrap_or((sample, "}"));
        let suffixes = ["", "_bucket", "_sum", "_count"];
        let family = suffixes.iter().find_map(|suffix| {
            let family = name.strip_suffix(suffix)?;
            families.contains_key(family).then(|| family.to_owned())
        });
        let Some(family) = family.and_then(|family| families.get_mut(&family)) else { continue };
        family.samples.insert(sample.to_owned());
        for part in labels.trim_end_matches('}').split("\",").filter_map(|part| part.split_once("=\"")) {
            if !["le", "quantile"].contains(&part.0) {
                family.labels.insert(part.0.to_owned());
            }
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_that_differ_are_named() {
        let theirs = parse(
            "# TYPE a counter\na 1\n# TYPE h histogram\nh_bucket{op=\"x\",le=\"1\"} 2\nh_sum{op=\"x\"} 1\n",
        );
        let ours =
            parse("# TYPE h histogram\nh_sum{of=\"x\"} 1\n# TYPE b gauge\nb 1\n# TYPE etched_b gauge\n");
        assert_eq!(theirs["h"].labels, BTreeSet::from(["op".to_owned()]));
        assert_eq!(
            differences(&theirs, &ours),
            [
                "metric a is missing",
                "metric h is a histogram with {\"of\"}, not a histogram with {\"op\"}",
                "metric b is none of etcd's",
            ]
        );
        assert_eq!(differences(&theirs, &theirs), Vec::<String>::new());
        let calls =
            "# TYPE grpc_server_started_total counter\ngrpc_server_started_total{grpc_method=\"Put\"} 1\n";
        let fewer =
            "# TYPE grpc_server_started_total counter\ngrpc_server_started_total{grpc_method=\"Get\"} 1\n";
        assert_eq!(differences(&parse(calls), &parse(fewer)).len(), 1);
    }
}
