//! The whole API on a screen: method, path, function. `{}` stands for a name that may hold slashes. The first
//! row that fits serves the request.

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use http::Method;

use crate::answer::Result;
use crate::build::{buildkit, history};
use crate::call::Call;
use crate::{build, containers, exec, images, networks, swarm, system, volumes};

/// A row of the table.
pub struct Route {
    pub method: Method,
    pub path: &'static str,
    pub handler: fn(Call) -> BoxFuture<'static, Result>,
    /// Runs to its end even when the client leaves before the answer: it changes things.
    pub settles: bool,
}

macro_rules! table {
    ($($method:ident $mark:tt $path:literal $handler:path;)*) => {
        &[$(Route {
            method: Method::$method,
            path: $path,
            handler: |call| $handler(call).boxed(),
            settles: settles!($mark),
        }),*]
    };
}

macro_rules! settles {
    (!) => {
        true
    };
    (-) => {
        false
    };
}

/// `!` marks requests that run to their end without their client, `-` those that end with it.
#[rustfmt::skip]
pub static TABLE: &[Route] = table! {
    GET    - "/_ping"                        system::ping;
    HEAD   - "/_ping"                        system::ping;
    GET    - "/version"                      system::version;
    GET    - "/info"                         system::info;
    GET    - "/events"                       system::events;
    GET    - "/system/df"                    system::df;
    POST   ! "/system/check"                 system::check;
    POST   ! "/system/collect"               system::collect;
    POST   - "/auth"                         system::auth;

    GET    - "/containers/json"              containers::list;
    POST   ! "/containers/create"            containers::create;
    POST   ! "/containers/prune"             containers::prune;
    GET    - "/containers/{}/json"           containers::inspect;
    GET    - "/containers/{}/top"            containers::top;
    GET    - "/containers/{}/logs"           containers::logs;
    GET    - "/containers/{}/changes"        containers::changes;
    GET    - "/containers/{}/export"         containers::export;
    GET    - "/containers/{}/stats"          containers::stats;
    GET    - "/containers/{}/attach/ws"      containers::attach_ws;
    HEAD   - "/containers/{}/archive"        containers::archive_head;
    GET    - "/containers/{}/archive"        containers::archive_get;
    PUT    ! "/containers/{}/archive"        containers::archive_put;
    POST   ! "/containers/{}/start"          containers::start;
    POST   ! "/containers/{}/stop"           containers::stop;
    POST   ! "/containers/{}/restart"        containers::restart;
    POST   ! "/containers/{}/kill"           containers::kill;
    POST   ! "/containers/{}/pause"          containers::pause;
    POST   ! "/containers/{}/unpause"        containers::unpause;
    POST   ! "/containers/{}/rename"         containers::rename;
    POST   ! "/containers/{}/update"         containers::update;
    POST   - "/containers/{}/wait"           containers::wait;
    POST   - "/containers/{}/attach"         containers::attach;
    POST   ! "/containers/{}/resize"         containers::resize;
    POST   ! "/containers/{}/exec"           exec::create;
    DELETE ! "/containers/{}"                containers::remove;
    POST   ! "/commit"                       images::commit;

    POST   - "/exec/{}/start"                exec::start;
    POST   ! "/exec/{}/resize"               exec::resize;
    GET    - "/exec/{}/json"                 exec::inspect;

    GET    - "/images/json"                  images::list;
    GET    - "/images/search"                images::search;
    GET    - "/images/get"                   images::save;
    GET    - "/images/files"                 images::files;
    POST   - "/images/load"                  images::load;
    POST   - "/images/create"                images::create;
    POST   ! "/images/prune"                 images::prune;
    GET    - "/images/{}/get"                images::save;
    GET    - "/images/{}/json"               images::inspect;
    GET    - "/images/{}/history"            images::history;
    GET    - "/images/{}/layers"             images::tree;
    GET    - "/images/{}/difference"         images::difference;
    POST   - "/images/{}/push"               images::push;
    POST   ! "/images/{}/tag"                images::tag;
    DELETE ! "/images/{}"                    images::remove;
    GET    - "/distribution/{}/json"         images::distribution;
    GET    - "/distribution/{}/raw"          images::remote;
    GET    - "/distribution/{}/base"         images::base;
    GET    - "/distribution/{}/signatures"   images::signatures;
    GET    - "/distribution/{}/attached"     images::attached;
    GET    - "/distribution/{}/files"        images::attached_files;
    POST   ! "/distribution"                 images::create_index;
    POST   ! "/distribution/sign"            images::sign;
    POST   ! "/distribution/attach"          images::attach;

    POST   - "/build"                        build::build;
    POST   ! "/build/prune"                  build::prune;
    POST   - "/build/give-back"              build::give_back;
    GET    - "/build/history"                history::list;
    GET    - "/build/history/attachment"     history::attachment;
    GET    - "/build/history/json"           history::inspect;
    GET    - "/build/history/logs"           history::logs;
    DELETE ! "/build/history"                history::remove;
    POST   ! "/build/shell"                  history::shell;
    POST   ! "/build/definition"             build::definition;
    POST   ! "/build/check"                  build::check;
    POST   - "/build/cancel"                 build::cancel;
    POST   - "/session"                      buildkit::session;
    POST   - "/grpc"                         buildkit::grpc;

    GET    - "/networks"                     networks::list;
    GET    - "/networks/"                    networks::list;
    POST   ! "/networks/create"              networks::create;
    POST   ! "/networks/prune"               networks::prune;
    POST   ! "/networks/{}/connect"          networks::connect;
    POST   ! "/networks/{}/disconnect"       networks::disconnect;
    GET    - "/networks/{}"                  networks::inspect;
    DELETE ! "/networks/{}"                  networks::remove;

    GET    - "/volumes"                      volumes::list;
    POST   ! "/volumes/create"               volumes::create;
    POST   ! "/volumes/prune"                volumes::prune;
    GET    - "/volumes/{}"                   volumes::inspect;
    PUT    - "/volumes/{}"                   swarm::refuse;
    DELETE ! "/volumes/{}"                   volumes::remove;

    GET    - "/swarm"                        swarm::refuse;
    POST   - "/swarm/init"                   swarm::unsupported;
    POST   - "/swarm/join"                   swarm::unsupported;
    POST   - "/swarm/leave"                  swarm::not_part;
    POST   - "/swarm/update"                 swarm::refuse;
    GET    - "/swarm/unlockkey"              swarm::refuse;
    POST   - "/swarm/unlock"                 swarm::not_part;
    GET    - "/services"                     swarm::refuse;
    POST   - "/services/create"              swarm::refuse;
    GET    - "/services/{}/logs"             swarm::refuse;
    POST   - "/services/{}/update"           swarm::refuse;
    GET    - "/services/{}"                  swarm::refuse;
    DELETE - "/services/{}"                  swarm::refuse;
    GET    - "/nodes"                        swarm::refuse;
    POST   - "/nodes/{}/update"              swarm::refuse;
    GET    - "/nodes/{}"                     swarm::refuse;
    DELETE - "/nodes/{}"                     swarm::refuse;
    GET    - "/tasks"                        swarm::refuse;
    GET    - "/tasks/{}/logs"                swarm::refuse;
    GET    - "/tasks/{}"                     swarm::refuse;
    GET    - "/secrets"                      swarm::refuse;
    POST   - "/secrets/create"               swarm::refuse;
    POST   - "/secrets/{}/update"            swarm::refuse;
    GET    - "/secrets/{}"                   swarm::refuse;
    DELETE - "/secrets/{}"                   swarm::refuse;
    GET    - "/configs"                      swarm::refuse;
    POST   - "/configs/create"               swarm::refuse;
    POST   - "/configs/{}/update"            swarm::refuse;
    GET    - "/configs/{}"                   swarm::refuse;
    DELETE - "/configs/{}"                   swarm::refuse;
    GET    - "/plugins"                      swarm::no_plugins;
    GET    - "/plugins/{}"                   swarm::no_plugin;
    POST   - "/plugins/{}"                   swarm::no_plugin;
    DELETE - "/plugins/{}"                   swarm::no_plugin;
};

/// The row for a request and what `{}` stands for, still percent encoded.
pub fn find<'p>(method: &Method, path: &'p str) -> Option<(&'static Route, &'p str)> {
    TABLE
        .iter()
        .filter(|route| route.method == *method)
        .find_map(|route| fits(route.path, path).map(|name| (route, name)))
}

fn fits<'p>(pattern: &str, path: &'p str) -> Option<&'p str> {
    match pattern.split_once("{}") {
        None => (pattern == path).then_some(""),
        Some((before, after)) => {
            let name = path.strip_prefix(before)?.strip_suffix(after)?;
            (!name.is_empty()).then_some(name)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(method: Method, path: &str) -> Option<(&'static str, &str)> {
        find(&method, path).map(|(route, name)| (route.path, name))
    }

    #[test]
    fn names_may_hold_slashes() {
        assert_eq!(found(Method::GET, "/images/a/b:c/json"), Some(("/images/{}/json", "a/b:c")));
        assert_eq!(found(Method::GET, "/images/json"), Some(("/images/json", "")));
        assert_eq!(found(Method::DELETE, "/images/h:1/a"), Some(("/images/{}", "h:1/a")));
        assert_eq!(found(Method::GET, "/images/get"), Some(("/images/get", "")));
        assert_eq!(found(Method::POST, "/containers/x/start"), Some(("/containers/{}/start", "x")));
        assert_eq!(found(Method::GET, "/networks/"), Some(("/networks/", "")));
    }

    #[test]
    fn what_nothing_serves() {
        assert_eq!(found(Method::PATCH, "/containers/json"), None);
        assert_eq!(found(Method::GET, "/containers//json"), None);
        assert_eq!(found(Method::GET, "/nope"), None);
        assert_eq!(found(Method::GET, ""), None);
    }

    #[test]
    fn no_row_hides_another() {
        for (at, route) in TABLE.iter().enumerate() {
            let sample = route.path.replace("{}", "sample");
            let first =
                TABLE.iter().position(|r| r.method == route.method && fits(r.path, &sample).is_some());
            assert_eq!(first, Some(at), "{} {}", route.method, route.path);
        }
    }
}
