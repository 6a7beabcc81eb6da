//! Putting questions, and the thread that answers them.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::copies::Copies;
use super::{
    DaysOf, FallbackOptions, Found, MOST_WAITING, NoCopy, Page, Question, Questions, Shared,
    StaleValue, Standing,
};
use crate::background::{Background, Worker, runtime};
use crate::calendar::Day;
use crate::counter::CounterName;
use crate::export::postgres::CopiedDay;

/// Most names in one question to a copy.
const NAMES_AT_ONCE: usize = 1000;

/// Connections that nobody needed for so long are let go.
const REST_AFTER: Duration = Duration::from_secs(10);

/// Where values are asked for while there is no store.
#[derive(Clone)]
pub struct Fallback {
    shared: Arc<Shared>,
    questions: Questions,
}

/// The thread that asks the copies, before it is started.
pub struct FallbackThread {
    shared: Arc<Shared>,
    copies: Copies,
    questions: mpsc::Receiver<Question>,
}

impl Fallback {
    /// With those copies. Nothing is answered until the thread is started.
    pub fn new(options: &FallbackOptions) -> (Self, FallbackThread) {
        let shared = Arc::new(Shared {
            cache: Mutex::default(),
            cache_for: options.cache_for,
        });
        let (put, take) = mpsc::channel(MOST_WAITING);
        let fallback = Self {
            shared: Arc::clone(&shared),
            questions: put,
        };
        let thread = FallbackThread {
            shared,
            copies: Copies::new(options),
            questions: take,
        };
        (fallback, thread)
    }

    /// What the copies know of these counters, in the order asked.
    ///
    /// # Errors
    /// When no copy can be asked, and not all of it was known before.
    pub async fn values(&self, names: &[CounterName]) -> Result<Vec<Found>, NoCopy> {
        {
            let cache = self.shared.cache.lock();
            let fresh = |name| cache.known(name, Some(self.shared.cache_for));
            if let Some(known) = names.iter().map(fresh).collect() {
                return Ok(known);
            }
        }
        let (answer, answered) = oneshot::channel();
        let names = names.to_vec();
        self.put(Question::Values { names, answer }, answered).await
    }

    /// The counters after `cursor` whose names begin with `prefix`, in the order of names.
    ///
    /// # Errors
    /// When no copy can be asked.
    pub async fn page(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<Vec<Arc<StaleValue>>, NoCopy> {
        let (answer, answered) = oneshot::channel();
        let page = Page {
            prefix: prefix.to_owned(),
            cursor: cursor.map(str::to_owned),
            limit,
        };
        self.put(Question::Page { page, answer }, answered).await
    }

    /// The closed days of a counter, newest first.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn days(
        &self,
        name: &CounterName,
        from: Day,
        to: Day,
    ) -> Result<Vec<CopiedDay>, NoCopy> {
        let (answer, answered) = oneshot::channel();
        let days = DaysOf {
            name: name.clone(),
            from,
            to,
        };
        self.put(Question::Days { days, answer }, answered).await
    }

    /// Which copy answers, looked at now unless that was a moment ago.
    ///
    /// # Errors
    /// When none does.
    pub async fn standing(&self) -> Result<Standing, NoCopy> {
        if let Some((at, standing)) = self.shared.cache.lock().standing
            && at.elapsed() <= self.shared.cache_for
        {
            return standing;
        }
        let (answer, answered) = oneshot::channel();
        let names = Vec::new();
        self.put(Question::Values { names, answer }, answered)
            .await?;
        let standing = self.shared.cache.lock().standing;
        standing.map_or(Err(NoCopy), |(_, standing)| standing)
    }

    async fn put<T>(
        &self,
        question: Question,
        answered: oneshot::Receiver<Result<T, NoCopy>>,
    ) -> Result<T, NoCopy> {
        // As many wait as may, or the server ends.
        self.questions.try_send(question).map_err(|_| NoCopy)?;
        answered.await.map_err(|_| NoCopy)?
    }
}

impl FallbackThread {
    /// Answers on a thread of its own until told to end.
    ///
    /// # Errors
    /// When there is no thread or no runtime to be had.
    pub fn start(self) -> io::Result<Background> {
        Background::start("fallback", Arc::new(runtime()?), self)
    }

    async fn answer(&mut self, first: Question) {
        let mut names: HashSet<CounterName> = HashSet::new();
        let mut values = Vec::new();
        let mut pages: HashMap<Page, Vec<_>> = HashMap::new();
        let mut days: HashMap<DaysOf, Vec<_>> = HashMap::new();
        let mut next = Some(first);
        while let Some(question) = next {
            match question {
                // Nobody waits for it any more.
                Question::Values { answer, .. } if answer.is_closed() => {}
                Question::Values {
                    names: asked,
                    answer,
                } => {
                    names.extend(asked.iter().cloned());
                    values.push((asked, answer));
                }
                Question::Page { page, answer } => add(&mut pages, page, answer),
                Question::Days { days: of, answer } => add(&mut days, of, answer),
            }
            next = if names.len() < NAMES_AT_ONCE {
                self.questions.try_recv().ok()
            } else {
                None
            };
        }
        if !values.is_empty() {
            self.ask_for(names).await;
            for (asked, answer) in values {
                // One that has left is none to be told.
                let _ = answer.send(self.known(&asked));
            }
        }
        for (page, answers) in pages {
            let found = self.copies.page(&page).await;
            tell(answers, &found);
        }
        for (of, answers) in days {
            let found = self.copies.days(&of).await;
            tell(answers, &found);
        }
    }

    /// Asks for the names that are not known freshly.
    async fn ask_for(&mut self, names: HashSet<CounterName>) {
        let cache_for = self.shared.cache_for;
        let names: Vec<CounterName> = {
            let cache = self.shared.cache.lock();
            let news = |name: &CounterName| cache.known(name, Some(cache_for)).is_none();
            names.into_iter().filter(news).collect()
        };
        let answered = self.copies.values(&names).await;
        let mut cache = self.shared.cache.lock();
        match answered {
            Ok((standing, found)) => {
                cache.standing = Some((Instant::now(), Ok(standing)));
                for (name, found) in names.iter().zip(&found) {
                    cache.remember(name, found);
                }
            }
            Err(NoCopy) => cache.standing = Some((Instant::now(), Err(NoCopy))),
        }
    }

    /// What is known of all of them, however old it is.
    fn known(&self, names: &[CounterName]) -> Result<Vec<Found>, NoCopy> {
        let cache = self.shared.cache.lock();
        let known = names.iter().map(|name| cache.known(name, None));
        known.collect::<Option<Vec<Found>>>().ok_or(NoCopy)
    }
}

impl Worker for FallbackThread {
    async fn run(&mut self, mut ended: oneshot::Receiver<()>) {
        loop {
            let waited = tokio::time::timeout(REST_AFTER, self.questions.recv());
            let question = tokio::select! {
                _ = &mut ended => break,
                question = waited => question,
            };
            match question {
                Ok(Some(question)) => tokio::select! {
                    _ = &mut ended => break,
                    () = self.answer(question) => {}
                },
                Ok(None) => break,
                Err(_) => self.copies.rest().await,
            }
        }
    }

    fn is_down(&mut self, _: &str) {
        self.questions.close();
    }
}

fn add<Of: Eq + Hash, Answer>(asked: &mut HashMap<Of, Vec<Answer>>, of: Of, answer: Answer) {
    asked.entry(of).or_default().push(answer);
}

fn tell<T: Clone>(answers: Vec<oneshot::Sender<Result<T, NoCopy>>>, found: &Result<T, NoCopy>) {
    for answer in answers {
        // One that has left is none to be told.
        let _ = answer.send(found.clone());
    }
}
