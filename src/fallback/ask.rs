//! Putting questions, and the thread that answers them.
//!
//! Values have a queue of their own: lists and days, which take longer and which fewer ask for, neither
//! hold them up nor take their copies away.

use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

use super::copies::Copies;
use super::{
    DaysOf, FallbackOptions, Found, LISTS_WAITING, ListQuestion, NoCopy, Page, PageFound, Shared,
    Standing, VALUES_WAITING, ValuesQuestion,
};
use crate::background::{Background, Worker, runtime};
use crate::calendar::Day;
use crate::counter::CounterName;
use crate::export::postgres::CopiedDay;

/// Most names in one question to a copy, but for those of the last asker.
const NAMES_AT_ONCE: usize = 1000;

/// Connections that nobody needed for so long are let go.
const REST_AFTER: Duration = Duration::from_secs(10);

/// Where values are asked for while there is no store.
#[derive(Clone)]
pub struct Fallback {
    shared: Arc<Shared>,
    values: mpsc::Sender<ValuesQuestion>,
    lists: mpsc::Sender<ListQuestion>,
}

/// The thread that asks the copies, before it is started.
pub struct FallbackThread {
    values: ValuesDesk,
    lists: ListsDesk,
}

/// Answers for values.
struct ValuesDesk {
    shared: Arc<Shared>,
    copies: Copies,
    questions: mpsc::Receiver<ValuesQuestion>,
}

/// Answers for lists and days, on connections of its own.
struct ListsDesk {
    shared: Arc<Shared>,
    copies: Copies,
    questions: mpsc::Receiver<ListQuestion>,
}

impl Fallback {
    /// With those copies. Nothing is answered until the thread is started.
    pub fn new(options: &FallbackOptions) -> (Self, FallbackThread) {
        let shared = Arc::new(Shared {
            cache: Mutex::default(),
            cache_for: options.cache_for,
        });
        let (values, values_asked) = mpsc::channel(VALUES_WAITING);
        let (lists, lists_asked) = mpsc::channel(LISTS_WAITING);
        let fallback = Self {
            shared: Arc::clone(&shared),
            values,
            lists,
        };
        let thread = FallbackThread {
            values: ValuesDesk {
                shared: Arc::clone(&shared),
                copies: Copies::new(options),
                questions: values_asked,
            },
            lists: ListsDesk {
                shared,
                copies: Copies::new(options),
                questions: lists_asked,
            },
        };
        (fallback, thread)
    }

    /// What the copies know of these counters, in the order asked.
    ///
    /// # Errors
    /// When no copy can be asked, and nothing of it was known before.
    pub async fn values(&self, names: &[CounterName]) -> Result<Vec<Found>, NoCopy> {
        {
            let cache = self.shared.cache.lock();
            let fresh = |name| cache.known(name, Some(self.shared.cache_for));
            if let Some(known) = names.iter().map(fresh).collect() {
                return Ok(known);
            }
        }
        self.ask_values(names.to_vec()).await
    }

    /// Which copy answers, looked at now unless that was a moment ago.
    ///
    /// # Errors
    /// When none does.
    pub async fn standing(&self) -> Result<Standing, NoCopy> {
        let known = self.shared.cache.lock().standing;
        if let Some((at, standing)) = known
            && at.elapsed() <= self.shared.cache_for
        {
            return standing;
        }
        self.ask_values(Vec::new()).await?;
        let standing = self.shared.cache.lock().standing;
        standing.map_or(Err(NoCopy), |(_, standing)| standing)
    }

    async fn ask_values(&self, names: Vec<CounterName>) -> Result<Vec<Found>, NoCopy> {
        let (answer, answered) = oneshot::channel();
        let question = ValuesQuestion { names, answer };
        // As many wait as may, or the server ends.
        self.values.try_send(question).map_err(|_| NoCopy)?;
        answered.await.map_err(|_| NoCopy)?
    }

    /// Up to `limit` counters after `cursor` whose names begin with `prefix`, in the order of names.
    ///
    /// # Errors
    /// When no copy can be asked.
    pub async fn page(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<PageFound, NoCopy> {
        let (answer, answered) = oneshot::channel();
        let page = Page {
            prefix: prefix.to_owned(),
            cursor: cursor.map(str::to_owned),
            limit,
        };
        let question = ListQuestion::Page { page, answer };
        self.lists.try_send(question).map_err(|_| NoCopy)?;
        answered.await.map_err(|_| NoCopy)?
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
        let question = ListQuestion::Days { days, answer };
        self.lists.try_send(question).map_err(|_| NoCopy)?;
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
}

impl Worker for FallbackThread {
    async fn run(&mut self, ended: oneshot::Receiver<()>) {
        tokio::select! {
            _ = ended => {}
            () = self.values.serve() => {}
            () = self.lists.serve() => {}
        }
    }

    fn is_down(&mut self, _: &str) {
        self.values.questions.close();
        self.lists.questions.close();
    }
}

impl ValuesDesk {
    async fn serve(&mut self) {
        loop {
            match tokio::time::timeout(REST_AFTER, self.questions.recv()).await {
                Ok(Some(question)) => self.answer(question).await,
                Ok(None) => break,
                Err(_) => self.copies.rest().await,
            }
        }
    }

    /// Answers everything that waits with one question for the names that are not known freshly.
    async fn answer(&mut self, first: ValuesQuestion) {
        let mut names: HashSet<CounterName> = HashSet::new();
        let mut askers = Vec::new();
        let mut next = Some(first);
        while let Some(question) = next {
            // Else nobody waits for it any more.
            if !question.answer.is_closed() {
                names.extend(question.names.iter().cloned());
                askers.push(question);
            }
            next = if names.len() < NAMES_AT_ONCE {
                self.questions.try_recv().ok()
            } else {
                None
            };
        }
        if askers.is_empty() {
            return;
        }
        let asked = self.ask_for(names).await;
        let cache = self.shared.cache.lock();
        for ValuesQuestion { names, answer } in askers {
            // However old it is, where no copy has an answer.
            let known = |name| asked.get(name).cloned().or_else(|| cache.known(name, None));
            let known: Vec<Option<Found>> = names.iter().map(known).collect();
            let nothing = !names.is_empty() && known.iter().all(Option::is_none);
            let found = known.into_iter().map(Option::flatten).collect();
            // An asker that has left needs no answer.
            let _ = answer.send(if nothing { Err(NoCopy) } else { Ok(found) });
        }
    }

    /// Asks for the names that are not known freshly; what came of it.
    async fn ask_for(&mut self, names: HashSet<CounterName>) -> HashMap<CounterName, Found> {
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
                let asked = names.into_iter().zip(found);
                asked
                    .map(|(name, found)| {
                        let found = cache.remember(&name, found);
                        (name, found)
                    })
                    .collect()
            }
            Err(NoCopy) => {
                cache.standing = Some((Instant::now(), Err(NoCopy)));
                HashMap::new()
            }
        }
    }
}

impl ListsDesk {
    async fn serve(&mut self) {
        loop {
            match tokio::time::timeout(REST_AFTER, self.questions.recv()).await {
                Ok(Some(question)) => self.answer(question).await,
                Ok(None) => break,
                Err(_) => self.copies.rest().await,
            }
        }
    }

    /// Answers everything that waits; the same question once.
    async fn answer(&mut self, first: ListQuestion) {
        let mut pages: HashMap<Page, Vec<_>> = HashMap::new();
        let mut days: HashMap<DaysOf, Vec<_>> = HashMap::new();
        let mut next = Some(first);
        while let Some(question) = next {
            match question {
                ListQuestion::Page { page, answer } => add(&mut pages, page, answer),
                ListQuestion::Days { days: of, answer } => add(&mut days, of, answer),
            }
            next = self.questions.try_recv().ok();
        }
        for (page, answers) in pages {
            if answers.iter().any(|answer| !answer.is_closed()) {
                let found = self.copies.page(&page).await;
                let found = found.map(|page| self.not_before_what_is_known(page));
                tell(answers, &found);
            }
        }
        for (of, answers) in days {
            if answers.iter().any(|answer| !answer.is_closed()) {
                let found = self.copies.days(&of).await;
                tell(answers, &found);
            }
        }
    }

    /// The page with what was said before of a later state of a counter.
    fn not_before_what_is_known(&self, page: PageFound) -> PageFound {
        let mut cache = self.shared.cache.lock();
        let values = page.values.into_iter();
        PageFound {
            values: values.map(|value| cache.no_earlier(value)).collect(),
            ..page
        }
    }
}

fn add<Of: Eq + Hash, Answer>(asked: &mut HashMap<Of, Vec<Answer>>, of: Of, answer: Answer) {
    asked.entry(of).or_default().push(answer);
}

fn tell<T: Clone>(answers: Vec<oneshot::Sender<Result<T, NoCopy>>>, found: &Result<T, NoCopy>) {
    for answer in answers {
        // An asker that has left needs no answer.
        let _ = answer.send(found.clone());
    }
}
