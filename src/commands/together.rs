//! Several things at once, on one thread.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

/// Does all of `work`, at most so many pieces at a time, and gives what came of each, in the
/// order of the work. Dropped, it drops what has begun.
pub async fn each<F: Future>(work: Vec<F>, at_most: usize) -> Vec<F::Output> {
    let mut done: Vec<Option<F::Output>> = work.iter().map(|_| None).collect();
    let mut waiting: VecDeque<(usize, F)> = work.into_iter().enumerate().collect();
    let mut begun: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    std::future::poll_fn(|context| {
        loop {
            while begun.len() < at_most.max(1) {
                let Some((number, next)) = waiting.pop_front() else {
                    break;
                };
                begun.push((number, Box::pin(next)));
            }
            let before = begun.len();
            begun.retain_mut(|(number, piece)| match piece.as_mut().poll(context) {
                Poll::Ready(output) => {
                    done[*number] = Some(output);
                    false
                }
                Poll::Pending => true,
            });
            if begun.is_empty() && waiting.is_empty() {
                return Poll::Ready(());
            }
            // Those that came to an end make room for others.
            if begun.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    done.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn no_more_than_asked_for_are_under_way_and_the_order_is_kept() {
        for at_most in [1, 3, 20] {
            let (now, most) = (Cell::new(0), Cell::new(0));
            let (now, most) = (&now, &most);
            let piece = |number: u64| async move {
                now.set(now.get() + 1);
                most.set(most.get().max(now.get()));
                tokio::time::sleep(Duration::from_millis(10 - number)).await;
                now.set(now.get() - 1);
                number
            };
            let done = each((0..10).map(piece).collect(), at_most).await;
            assert_eq!(done, (0..10).collect::<Vec<_>>());
            assert_eq!(most.get(), at_most.min(10));
        }
        assert!(
            each(Vec::<std::future::Ready<()>>::new(), 2)
                .await
                .is_empty()
        );
    }
}
