//! `traceparent` and `tracestate` (W3C Trace Context).

use crate::message::Fields;

const PARENT: &[u8] = b"traceparent";
const STATE: &[u8] = b"tracestate";
/// Length of version 00: `00-` trace id `-` parent id `-` flags.
const LENGTH: usize = 55;
/// The caller may have recorded the trace.
const SAMPLED: u8 = 1;

/// The place of one request in a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trace {
    pub id: u128,
    /// The caller's span.
    pub parent: Option<u64>,
    /// Our span for the request, and the one for its way to a server.
    pub span: u64,
    pub client_span: u64,
    pub sampled: bool,
}

impl Trace {
    /// The trace a request brings, or a new one. Whoever began it has decided whether it is recorded; of new ones a share
    /// is.
    pub(super) fn of(fields: &Fields, sample: f32) -> Trace {
        let mut values = fields.iter().filter(|field| field.name.eq_ignore_ascii_case(PARENT));
        let told = match (values.next(), values.next()) {
            (Some(field), None) => parse(field.value),
            // Two contradict each other.
            _ => None,
        };
        let (span, client_span) = (fastrand::u64(1..), fastrand::u64(1..));
        match told {
            Some((id, parent, sampled)) => Trace { id, parent: Some(parent), span, client_span, sampled },
            None => {
                let sampled = fastrand::f32() < sample;
                Trace { id: fastrand::u128(1..), parent: None, span, client_span, sampled }
            }
        }
    }

    /// Puts our `traceparent` in place. The caller's `tracestate` goes on only with a trace of the caller's.
    pub(super) fn pass_on(&self, fields: &mut Fields) {
        let name = |field: &[u8], name: &[u8]| field.eq_ignore_ascii_case(name);
        let kept = self.parent.is_some();
        fields.retain(|field| !name(field.name, PARENT) && (kept || !name(field.name, STATE)));
        // Nobody hears of the second span of a request that is not recorded.
        let span = if self.sampled { self.client_span } else { self.span };
        let value = format!("00-{:032x}-{span:016x}-{:02x}", self.id, u8::from(self.sampled) * SAMPLED);
        fields.push(PARENT, value.as_bytes());
    }
}

/// Trace id, parent id, and the sampled flag; `None`: not valid (W3C Trace Context section 3.2.2).
fn parse(value: &[u8]) -> Option<(u128, u64, bool)> {
    let value = std::str::from_utf8(value.trim_ascii()).ok()?;
    let hex = |from: usize, to: usize| {
        let digits = value.get(from..to)?;
        digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')).then_some(digits)
    };
    let version = u8::from_str_radix(hex(0, 2)?, 16).ok()?;
    let dashes = [2, 35, 52].iter().all(|at| value.as_bytes().get(*at) == Some(&b'-'));
    // A later version may be longer, behind another dash.
    let long = version > 0 && value.as_bytes().get(LENGTH) == Some(&b'-');
    if version == 0xff || !dashes || (value.len() != LENGTH && !long) {
        return None;
    }
    let id = u128::from_str_radix(hex(3, 35)?, 16).ok()?;
    let parent = u64::from_str_radix(hex(36, 52)?, 16).ok()?;
    let flags = u8::from_str_radix(hex(53, 55)?, 16).ok()?;
    (id != 0 && parent != 0).then_some((id, parent, flags & SAMPLED != 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: u128 = 0x0af7651916cd43dd8448eb211c80319c;

    fn fields(values: &[&str]) -> Fields {
        let mut fields = Fields::default();
        values.iter().for_each(|value| fields.push(b"Traceparent", value.as_bytes()));
        fields.push(b"Tracestate", b"a=1,b=2");
        fields
    }

    #[test]
    fn a_valid_context_is_continued_with_a_span_of_ours() {
        let mut fields = fields(&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"]);
        let trace = Trace::of(&fields, 0.0);
        assert_eq!((trace.id, trace.parent, trace.sampled), (ID, Some(0xb7ad6b7169203331), true));
        trace.pass_on(&mut fields);
        let sent = String::from_utf8(fields.get_name(b"traceparent").unwrap().to_vec()).unwrap();
        assert_eq!(sent, format!("00-0af7651916cd43dd8448eb211c80319c-{:016x}-01", trace.client_span));
        assert_eq!(fields.get_name(b"tracestate"), Some(&b"a=1,b=2"[..]));
        assert_eq!(fields.len(), 2);
    }

    #[test]
    fn the_caller_decides_whether_it_is_recorded() {
        let trace = Trace::of(&fields(&["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"]), 1.0);
        assert!(!trace.sampled);
        let trace = Trace::of(&fields(&["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"]), 0.0);
        assert!(trace.sampled && trace.id == ID);
    }

    #[test]
    fn an_invalid_context_is_dropped_with_its_state_and_a_new_trace_begins() {
        for values in [
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more"][..],
            &["00-0AF7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["00-00000000000000000000000000000000-b7ad6b7169203331-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01"],
            &["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-1"],
            &["cc-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01.more"],
            &["00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["\u{e4}0-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &["", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
            &[],
        ] {
            let mut fields = fields(values);
            let trace = Trace::of(&fields, 0.0);
            assert!(trace.id != ID && trace.parent.is_none() && !trace.sampled, "{values:?}");
            trace.pass_on(&mut fields);
            assert_eq!((fields.len(), fields.get_name(b"tracestate")), (1, None), "{values:?}");
        }
        assert!(Trace::of(&fields(&[]), 1.0).sampled);
    }
}
