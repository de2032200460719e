//! Which messages are accepted as replies.

use super::network::reply;
use super::question;
use crate::jobs::dns::message::{self, Reply, Spelling};
use crate::jobs::dns::query;
use crate::jobs::dns::random::Random;
use crate::jobs::dns::status::Status;
use domain::base::iana::Rcode;
use domain::base::message_builder::MessageBuilder;
use proptest::prelude::*;

#[test]
fn a_reply_repeats_the_spelling() {
    let asked = question(2);
    let spelled = asked.respelled(&mut Random::seeded(3));
    assert_ne!(spelled.name(), asked.name());
    let [same, lower] =
        [&spelled, &asked].map(|of| reply(&query::default_query(7, of, true), None));
    let judged = [&same, &lower].map(|reply| message::judge(reply, &spelled, Spelling::Exact));
    assert_eq!(judged, [Reply::Answer(Status::NoError), Reply::Foreign]);
    let judged = message::judge(&same, &asked, Spelling::Any);
    assert_eq!(judged, Reply::Answer(Status::NoError));
    let mut respelled = same.clone();
    message::respell(&mut respelled, &asked);
    let end = 12 + asked.name().len();
    assert_eq!(respelled[..end], lower[..end]);
}

proptest! {
    /// Damaged replies never cause a panic.
    #[test]
    fn garbage_is_not_a_reply(
        cut in any::<prop::sample::Index>(),
        flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..6),
    ) {
        let question = question(2);
        let mut message = reply(&query::default_query(7, &question, true), None);
        for (at, bits) in flips {
            let at = at.index(message.len());
            message[at] ^= bits;
        }
        message.truncate(cut.index(message.len() + 1));
        message::judge(&message, &question, Spelling::Any);
    }
}

/// Only a failure may come without the question: a sender that does not know the question must not be
/// able to say that its name does not exist.
#[test]
fn an_answer_has_its_question() {
    let question = question(2);
    let without_question = |rcode| {
        let mut message = MessageBuilder::new_vec();
        message.header_mut().set_qr(true);
        message.header_mut().set_rcode(rcode);
        message::judge(&message.finish(), &question, Spelling::Any)
    };
    for rcode in [Rcode::NOERROR, Rcode::NXDOMAIN] {
        assert_eq!(without_question(rcode), Reply::Foreign);
    }
    for rcode in [
        Rcode::FORMERR,
        Rcode::SERVFAIL,
        Rcode::NOTIMP,
        Rcode::REFUSED,
    ] {
        assert_ne!(without_question(rcode), Reply::Foreign);
    }
}
