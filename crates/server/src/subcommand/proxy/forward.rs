//! One gRPC call, on its way to the cluster and back.

use etched_proto::etcdserverpb::{Member, MemberListResponse, ResponseHeader};
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use prost::Message as _;
use tonic::Status;
use tonic::body::Body;

use super::Proxy;
use super::mapped::{Mapped, enframe};
use crate::log;

/// The call that the proxy answers itself.
const MEMBER_LIST: &str = "/etcdserverpb.Cluster/MemberList";

/// Forwards a call.
pub(super) async fn call(mut request: Request<Incoming>, proxy: &Proxy) -> Response<Body> {
    let path = request.uri().path().to_owned();
    if proxy.logs_calls {
        log!(Info, "call", "method" => path.as_str());
    }
    if path == MEMBER_LIST && !proxy.advertised.is_empty() {
        return only_member(&proxy.advertised);
    }
    let mapping = proxy.namespace.as_ref().and_then(|namespace| namespace.mapping(&path));
    let request = match &mapping {
        None => request.map(Body::new),
        Some(mapping) => {
            let outgoing = mapping.outgoing();
            without_length(request.headers_mut());
            request.map(|body| Body::new(Mapped::new(body, proxy.send_bytes_max, outgoing)))
        }
    };
    match proxy.upstream.send(request).await {
        Ok(mut response) => match &mapping {
            None => response.map(Body::new),
            Some(mapping) => {
                let incoming = mapping.incoming();
                without_length(response.headers_mut());
                response.map(|body| Body::new(Mapped::new(body, proxy.receive_bytes_max, incoming)))
            }
        },
        Err(error) => Status::unavailable(error.to_string()).into_http(),
    }
}

/// The length changes with the messages.
fn without_length(headers: &mut http::HeaderMap) {
    headers.remove(CONTENT_LENGTH);
}

/// The proxy as the cluster's only member, so that clients which ask for all members stay with it.
fn only_member(url: &str) -> Response<Body> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let member = Member { name, client_ur_ls: vec![url.to_owned()], ..Member::default() };
    let message = MemberListResponse { header: Some(ResponseHeader::default()), members: vec![member] };
    let body = Full::new(enframe(&message.encode_to_vec()));
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    let body = http_body_util::BodyExt::with_trailers(body, std::future::ready(Some(Ok(trailers))));
    let mut response = Response::new(Body::new(body));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}
