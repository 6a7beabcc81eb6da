//! Where readers ask, and the thread that answers.
//!
//! Values have a queue and connections of their own, so that lists and days, which take longer, do not hold them up.

use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, oneshot};

use super::copies::Copies;
use super::{
    Answer, Cache, CopyStanding, FallbackOptions, Found, LISTS_WAITING, ListQuestion, ListWanted,
    Listed, NoCopy, PageFound, VALUES_WAITING, ValuesQuestion,
};
use crate::background::{Background, BackgroundWork, runtime};
use crate::calendar::Day;
use crate::counter::CounterName;

/// Names in one question to a copy, after which no further asker is taken in.
const NAMES_AT_ONCE: usize = 1000;

/// How long a connection is kept that nobody needs.
const REST_AFTER: Duration = Duration::from_secs(10);

/// Where readers ask while there is no store.
#[derive(Clone)]
pub struct Fallback {
    cache: Arc<Mutex<Cache>>,
    values: mpsc::Sender<ValuesQuestion>,
    lists: mpsc::Sender<ListQuestion>,
}

/// The thread that asks the copies, before it is started.
pub struct FallbackThread {
    values: AnswerDesk<ValuesQuestion>,
    lists: AnswerDesk<ListQuestion>,
}

/// Answers questions of one kind, on connections of its own.
struct AnswerDesk<Q> {
    cache: Arc<Mutex<Cache>>,
    copies: Copies,
    questions: mpsc::Receiver<Q>,
}

impl Fallback {
    /// Prepares questions to those copies. Nothing is answered until the thread is started.
    pub fn new(options: &FallbackOptions) -> (Self, FallbackThread) {
        let cache = Arc::new(Mutex::new(Cache {
            cache_for: options.cache_for,
            ..Cache::default()
        }));
        let (ask_values, values) = AnswerDesk::new(&cache, options, VALUES_WAITING);
        let (ask_lists, lists) = AnswerDesk::new(&cache, options, LISTS_WAITING);
        let fallback = Self {
            cache,
            values: ask_values,
            lists: ask_lists,
        };
        (fallback, FallbackThread { values, lists })
    }

    /// Returns what the copies know of these counters, in the order asked.
    ///
    /// # Errors
    /// When no copy can be asked, and none of the counters is cached.
    pub async fn values(&self, names: &[CounterName]) -> Result<Vec<Found>, NoCopy> {
        {
            let cache = self.cache.lock();
            if let Some(fresh) = names.iter().map(|name| cache.fresh(name)).collect() {
                return Ok(fresh);
            }
        }
        self.ask_values(names.to_vec()).await
    }

    /// Returns which copy answers. A copy is asked now, unless one was a moment ago.
    ///
    /// # Errors
    /// When no copy answers.
    pub async fn standing(&self) -> Result<CopyStanding, NoCopy> {
        let known = {
            let cache = self.cache.lock();
            cache.standing.filter(|(asked, _)| cache.is_fresh(*asked))
        };
        if let Some((_, standing)) = known {
            return standing;
        }
        self.ask_values(Vec::new()).await?;
        let standing = self.cache.lock().standing;
        standing.map_or(Err(NoCopy), |(_, standing)| standing)
    }

    async fn ask_values(&self, names: Vec<CounterName>) -> Result<Vec<Found>, NoCopy> {
        let (answer, answered) = oneshot::channel();
        let question = ValuesQuestion { names, answer };
        // A failure to send shows that too many questions wait, or that the server ends.
        self.values.try_send(question).map_err(|_| NoCopy)?;
        answered.await.map_err(|_| NoCopy)?
    }

    /// Returns up to `limit` counters after `cursor` whose names begin with `prefix`, in the order of names.
    ///
    /// # Errors
    /// When no copy can be asked.
    pub async fn page(
        &self,
        prefix: &str,
        cursor: Option<&str>,
        limit: usize,
    ) -> Result<PageFound, NoCopy> {
        let page = ListWanted::Page {
            prefix: prefix.to_owned(),
            cursor: cursor.map(str::to_owned),
            limit,
        };
        match self.ask_list(page).await? {
            Listed::Page(page) => Ok(page),
            Listed::Days(_) => Err(NoCopy),
        }
    }

    /// Returns the closed days of a counter, newest first, each as a JSON object.
    ///
    /// # Errors
    /// When PostgreSQL cannot be asked.
    pub async fn days(
        &self,
        name: &CounterName,
        from: Day,
        to: Day,
    ) -> Result<Vec<Box<RawValue>>, NoCopy> {
        let name = name.clone();
        let days = ListWanted::Days { name, from, to };
        match self.ask_list(days).await? {
            Listed::Days(days) => Ok(days),
            Listed::Page(_) => Err(NoCopy),
        }
    }

    async fn ask_list(&self, wanted: ListWanted) -> Result<Listed, NoCopy> {
        let (answer, answered) = oneshot::channel();
        // A failure to send shows that too many questions wait, or that the server ends.
        self.lists.try_send((wanted, answer)).map_err(|_| NoCopy)?;
        answered.await.map_err(|_| NoCopy)?
    }
}

impl FallbackThread {
    /// Answers on a thread of its own until told to end.
    ///
    /// # Errors
    /// When there are no resources for a thread or a runtime.
    pub fn start(self) -> io::Result<Background> {
        Background::start("fallback", Arc::new(runtime()?), self)
    }
}

impl BackgroundWork for FallbackThread {
    async fn run(&mut self, ended: oneshot::Receiver<()>) {
        tokio::select! {
            _ = ended => {}
            () = self.values.serve(AnswerDesk::answer_values) => {}
            () = self.lists.serve(AnswerDesk::answer_lists) => {}
        }
    }

    fn is_down(&mut self, _: &str) {
        self.values.questions.close();
        self.lists.questions.close();
    }
}

impl<Q> AnswerDesk<Q> {
    fn new(
        cache: &Arc<Mutex<Cache>>,
        options: &FallbackOptions,
        waiting: usize,
    ) -> (mpsc::Sender<Q>, Self) {
        let (asking, questions) = mpsc::channel(waiting);
        let desk = Self {
            cache: Arc::clone(cache),
            copies: Copies::new(options),
            questions,
        };
        (asking, desk)
    }

    /// Answers questions until no more can come. Closes the connections when none comes for a while.
    async fn serve(&mut self, mut answer: impl AsyncFnMut(&mut Self, Q)) {
        loop {
            match tokio::time::timeout(REST_AFTER, self.questions.recv()).await {
                Ok(Some(question)) => answer(self, question).await,
                Ok(None) => return,
                Err(_) => self.copies.rest().await,
            }
        }
    }
}

impl AnswerDesk<ValuesQuestion> {
    /// Answers all that wait, with one question for the names of which no fresh answer is cached.
    async fn answer_values(&mut self, first: ValuesQuestion) {
        let mut names: HashSet<CounterName> = HashSet::new();
        let mut askers = Vec::new();
        let mut next = Some(first);
        while let Some(question) = next {
            // Nobody waits for a closed one any more.
            if !question.answer.is_closed() {
                names.extend(question.names.iter().cloned());
                askers.push(question);
            }
            let has_room = names.len() < NAMES_AT_ONCE;
            next = has_room.then(|| self.questions.try_recv().ok()).flatten();
        }
        if askers.is_empty() {
            return;
        }
        let asked = self.ask_for(names).await;
        let cache = self.cache.lock();
        for ValuesQuestion { names, answer } in askers {
            // Where no copy answers, a cached answer of any age.
            let known = |name| asked.get(name).cloned().or_else(|| cache.known(name));
            let known: Vec<Option<Found>> = names.iter().map(known).collect();
            let nothing = !names.is_empty() && known.iter().all(Option::is_none);
            let found = known.into_iter().map(Option::flatten).collect();
            // An asker that has left needs no answer.
            let _ = answer.send(if nothing { Err(NoCopy) } else { Ok(found) });
        }
    }

    /// Asks for those of the names of which no fresh answer is cached, and returns the answers.
    async fn ask_for(&mut self, names: HashSet<CounterName>) -> HashMap<CounterName, Found> {
        let names: Vec<CounterName> = {
            let cache = self.cache.lock();
            let names = names.into_iter();
            names.filter(|name| cache.fresh(name).is_none()).collect()
        };
        let answered = self.copies.values(&names).await;
        let now = Instant::now();
        let mut cache = self.cache.lock();
        let standing = answered.as_ref().map(|(standing, _)| *standing);
        cache.standing = Some((now, standing.map_err(|NoCopy| NoCopy)));
        let found = answered.map_or_else(|_| Vec::new(), |(_, found)| found);
        let asked = names.into_iter().zip(found).map(|(name, found)| {
            let found = cache.remember(&name, found, Some(now));
            (name, found)
        });
        asked.collect()
    }
}

impl AnswerDesk<ListQuestion> {
    /// Answers all that wait. The same question is asked once.
    async fn answer_lists(&mut self, first: ListQuestion) {
        let mut asked: HashMap<ListWanted, Vec<Answer<Listed>>> = HashMap::new();
        let mut next = Some(first);
        while let Some((wanted, answer)) = next {
            asked.entry(wanted).or_default().push(answer);
            next = self.questions.try_recv().ok();
        }
        for (wanted, answers) in asked {
            // Nobody waits for a closed one any more.
            if answers.iter().all(Answer::is_closed) {
                continue;
            }
            let found = self.copies.list(&wanted).await;
            let found = found.map(|listed| self.not_before_what_is_known(listed));
            for answer in answers {
                let _ = answer.send(found.clone());
            }
        }
    }

    /// Puts the cached value in the place of each value of a page that is of an earlier state.
    fn not_before_what_is_known(&self, listed: Listed) -> Listed {
        let Listed::Page(mut page) = listed else {
            return listed;
        };
        let mut cache = self.cache.lock();
        for value in &mut page.values {
            let name = value.copied.name.clone();
            if let Some(known) = cache.remember(&name, Some(Arc::clone(value)), None) {
                *value = known;
            }
        }
        Listed::Page(page)
    }
}
