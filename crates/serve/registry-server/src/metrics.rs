//! Figures for Prometheus (text exposition format 0.0.4).

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::collect::Collected;
use crate::registry::Registry;
use crate::route::Target;

pub(crate) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// Seconds that requests are sorted by.
const BUCKETS: [f64; 7] = [0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 60.0];

/// End-point, method and status of requests.
type Kind = (&'static str, String, u16);

#[derive(Debug, Default)]
struct Times {
    buckets: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// What has happened since the start.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    requests: Mutex<BTreeMap<Kind, u64>>,
    times: Mutex<BTreeMap<&'static str, Times>>,
    pub(crate) in_flight: AtomicI64,
    pub(crate) connections: AtomicI64,
    pub(crate) received: AtomicU64,
    pub(crate) sent: AtomicU64,
    pub(crate) hits: AtomicU64,
    pub(crate) misses: AtomicU64,
    pub(crate) evicted: AtomicU64,
    pub(crate) evicted_bytes: AtomicU64,
    pub(crate) told: AtomicU64,
    pub(crate) not_told: AtomicU64,
    collections: AtomicU64,
    collected_blobs: AtomicU64,
    collected_bytes: AtomicU64,
}

impl Metrics {
    pub(crate) fn request(&self, target: Option<&Target>, method: &str, status: u16, took: Duration) {
        let end_point = target.map_or("unknown", end_point);
        // What a stranger calls a method may be anything.
        let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&method);
        let kind = (end_point, if known { method } else { "other" }.to_owned(), status);
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(end_point).or_default();
        let seconds = took.as_secs_f64();
        times.count += 1;
        times.seconds += seconds;
        for (bucket, limit) in times.buckets.iter_mut().zip(BUCKETS) {
            *bucket += u64::from(seconds <= limit);
        }
    }

    pub(crate) fn collection(&self, collected: &Collected) {
        self.collections.fetch_add(1, Ordering::Relaxed);
        self.collected_blobs.fetch_add(collected.blobs, Ordering::Relaxed);
        self.collected_bytes.fetch_add(collected.bytes, Ordering::Relaxed);
    }

    fn write_requests(&self, out: &mut String) {
        head(out, "dhow_registry_requests_total", "counter", "Requests by end-point, method and status.");
        for ((end_point, method, status), count) in
            self.requests.lock().unwrap_or_else(PoisonError::into_inner).iter()
        {
            let labels = format!("end_point=\"{end_point}\",method=\"{method}\",status=\"{status}\"");
            let _ = writeln!(out, "dhow_registry_requests_total{{{labels}}} {count}");
        }
        let name = "dhow_registry_request_seconds";
        head(out, name, "histogram", "Time until the head of an answer.");
        for (end_point, times) in self.times.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let label = format!("end_point=\"{end_point}\"");
            for (bucket, limit) in times.buckets.iter().zip(BUCKETS) {
                let _ = writeln!(out, "{name}_bucket{{{label},le=\"{limit}\"}} {bucket}");
            }
            let _ = writeln!(out, "{name}_bucket{{{label},le=\"+Inf\"}} {}", times.count);
            let _ = writeln!(out, "{name}_sum{{{label}}} {}", times.seconds);
            let _ = writeln!(out, "{name}_count{{{label}}} {}", times.count);
        }
    }
}

impl Registry {
    /// All figures as a document.
    pub fn figures(&self) -> String {
        let metrics = &self.metrics;
        let mut out = String::new();
        metrics.write_requests(&mut out);
        let counter = |value: &AtomicU64| value.load(Ordering::Relaxed).to_string();
        let gauge = |value: &AtomicI64| value.load(Ordering::Relaxed).to_string();
        for (name, kind, help, value) in [
            ("requests_in_flight", "gauge", "Requests that are being answered.", gauge(&metrics.in_flight)),
            ("connections", "gauge", "Open connections.", gauge(&metrics.connections)),
            ("uploads", "gauge", "Uploads that are not finished.", self.spool.count().to_string()),
            ("received_bytes_total", "counter", "Bytes of requests' bodies.", counter(&metrics.received)),
            (
                "sent_bytes_total",
                "counter",
                "Bytes of blobs and manifests that were asked for.",
                counter(&metrics.sent),
            ),
            ("cache_hits_total", "counter", "Upstream content that was here.", counter(&metrics.hits)),
            ("cache_misses_total", "counter", "Upstream content that was fetched.", counter(&metrics.misses)),
            (
                "cache_evicted_total",
                "counter",
                "Upstream content that had to make room.",
                counter(&metrics.evicted),
            ),
            ("cache_evicted_bytes_total", "counter", "Bytes of that.", counter(&metrics.evicted_bytes)),
            ("events_told_total", "counter", "Events that webhooks took.", counter(&metrics.told)),
            (
                "events_lost_total",
                "counter",
                "Events that webhooks did not take.",
                counter(&metrics.not_told),
            ),
            ("collections_total", "counter", "Garbage collections.", counter(&metrics.collections)),
            (
                "collected_blobs_total",
                "counter",
                "Blobs that were garbage.",
                counter(&metrics.collected_blobs),
            ),
            ("collected_bytes_total", "counter", "Bytes of those.", counter(&metrics.collected_bytes)),
        ] {
            let name = format!("dhow_registry_{name}");
            head(&mut out, &name, kind, help);
            let _ = writeln!(out, "{name} {value}");
        }
        out
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn end_point(target: &Target) -> &'static str {
    match target {
        Target::Base => "base",
        Target::Blob(..) => "blob",
        Target::Manifest(..) => "manifest",
        Target::Uploads(_) => "uploads",
        Target::Upload(..) => "upload",
        Target::Tags(_) => "tags",
        Target::Referrers(..) => "referrers",
        Target::Catalog => "catalog",
        Target::Token => "token",
        Target::Front | Target::Repository(_) | Target::Image(..) => "page",
    }
}
