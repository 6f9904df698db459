//! Queues: token buckets, and what an interface receives sent through one.
//!
//! Source: tc(8), linux/pkt_sched.h, linux/pkt_cls.h.

use super::message::{CREATE, EXCL, Message};

const RTM_NEWQDISC: u16 = 36;
const RTM_NEWTFILTER: u16 = 44;

const TCA_KIND: u16 = 1;
const TCA_OPTIONS: u16 = 2;
const TCA_TBF_PARMS: u16 = 1;
const TCA_TBF_RATE64: u16 = 4;
const TCA_TBF_BURST: u16 = 6;
const TCA_U32_SEL: u16 = 5;
const TCA_U32_ACT: u16 = 7;
const TCA_ACT_KIND: u16 = 1;
const TCA_ACT_OPTIONS: u16 = 2;
const TCA_MIRRED_PARMS: u16 = 2;

const ROOT: u32 = 0xffff_ffff;
const INGRESS: u32 = 0xffff_fff1;
const INGRESS_HANDLE: u32 = 0xffff_0000;
const TC_LINKLAYER_ETHERNET: u8 = 1;
const TC_U32_TERMINAL: u8 = 1;
const TC_ACT_STOLEN: u32 = 4;
const TCA_EGRESS_REDIR: u32 = 1;
/// `ETH_P_ALL` in network order, in the low half; priority 1 in the high half.
const EVERY_PROTOCOL: u32 = (1 << 16) | 0x0003_u16.to_be() as u32;

/// How long a packet may wait in the bucket, as the reference plugin has it.
const LATENCY_MS: u64 = 25;

/// `struct tcmsg`.
fn fixed(index: u32, handle: u32, parent: u32, info: u32) -> [u8; 20] {
    let mut bytes = [0; 20];
    for (at, value) in [(4, index), (8, handle), (12, parent), (16, info)] {
        bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    }
    bytes
}

/// The request that sends what interface `index` transmits through a token
/// bucket: `rate` and `burst` in bits (per second).
pub(crate) fn token_bucket(index: u32, rate: u64, burst: u64) -> Message {
    let bytes_per_second = rate / 8;
    let burst = u32::try_from(burst / 8).unwrap_or(u32::MAX);
    let queue = bytes_per_second * LATENCY_MS / 1000 + u64::from(burst);
    // `struct tc_tbf_qopt`: two `tc_ratespec` of 12 bytes, limit, buffer, mtu.
    // The buffer is computed by the kernel from TCA_TBF_BURST.
    let mut parameters = [0; 36];
    parameters[1] = TC_LINKLAYER_ETHERNET;
    let rate32 = u32::try_from(bytes_per_second).unwrap_or(u32::MAX);
    parameters[8..12].copy_from_slice(&rate32.to_ne_bytes());
    let limit = u32::try_from(queue).unwrap_or(u32::MAX);
    parameters[24..28].copy_from_slice(&limit.to_ne_bytes());
    let mut message = Message::new(RTM_NEWQDISC, CREATE | EXCL, &fixed(index, 0, ROOT, 0));
    message.text(TCA_KIND, "tbf").nest(TCA_OPTIONS, |options| {
        options.attr(TCA_TBF_PARMS, &parameters);
        options.u32(TCA_TBF_BURST, burst);
        if bytes_per_second > u64::from(u32::MAX) {
            options.attr(TCA_TBF_RATE64, &bytes_per_second.to_ne_bytes());
        }
    });
    message
}

/// The requests that send what interface `index` receives out through
/// interface `to` instead.
pub(crate) fn redirect_received(index: u32, to: u32) -> [Message; 2] {
    let mut ingress = Message::new(
        RTM_NEWQDISC,
        CREATE | EXCL,
        &fixed(index, INGRESS_HANDLE, INGRESS, 0),
    );
    ingress.text(TCA_KIND, "ingress");

    // `struct tc_u32_sel` with one `tc_u32_key` that every packet matches.
    let mut selector = [0; 32];
    selector[0] = TC_U32_TERMINAL;
    selector[2] = 1;
    // `struct tc_mirred`: index, capabilities, action, two counters, kind, interface.
    let mut mirred = [0; 28];
    mirred[8..12].copy_from_slice(&TC_ACT_STOLEN.to_ne_bytes());
    mirred[20..24].copy_from_slice(&TCA_EGRESS_REDIR.to_ne_bytes());
    mirred[24..28].copy_from_slice(&to.to_ne_bytes());
    let mut filter = Message::new(
        RTM_NEWTFILTER,
        CREATE | EXCL,
        &fixed(index, 0, INGRESS_HANDLE, EVERY_PROTOCOL),
    );
    filter.text(TCA_KIND, "u32").nest(TCA_OPTIONS, |options| {
        options.attr(TCA_U32_SEL, &selector);
        options.nest(TCA_U32_ACT, |actions| {
            actions.nest(1, |action| {
                action.text(TCA_ACT_KIND, "mirred");
                action.nest(TCA_ACT_OPTIONS, |options| {
                    options.attr(TCA_MIRRED_PARMS, &mirred);
                });
            });
        });
    });
    [ingress, filter]
}
