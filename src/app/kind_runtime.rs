//! What runs for one kind of object: its store, queue, poller, controller and workers, and the ways to wake its objects.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    clock::Clock,
    controller::{Controller, KindController, model_sync::WakeTrain, work},
    core::run::backend::RunRecord,
    kube_io::store::Objects,
    port::PollClient,
    schedule::{poller::Poller, queue::Queue},
};

/// Reconciles of one kind that run at once. Each holds at most one connection to the API server.
const WORKERS: usize = 32;

/// Wakes the objects that a changed run concerns.
pub(super) type WakeOwner = Arc<dyn Fn(&RunRecord) + Send + Sync>;

/// The parts of one kind.
pub(super) struct KindRuntime<C: KindController> {
    pub(super) objects: Arc<Objects<C::Kind>>,
    pub(super) queue: Queue,
    pub(super) poller: Poller<C::Target, C::Response>,
    pub(super) controller: Arc<Controller<C>>,
}

impl<C: KindController> KindRuntime<C> {
    /// The runtime of this controller, whose polls go through `client`.
    pub(super) fn new(
        clock: Arc<Clock>,
        controller: Controller<C>,
        client: Arc<dyn PollClient<C::Target, C::Response>>,
    ) -> Self {
        let (objects, queue) = (controller.context.objects.clone(), controller.context.queue.clone());
        let controller = Arc::new(controller);
        let poller = Poller::new(clock, controller.clone(), client);
        Self { objects, queue, poller, controller }
    }

    /// Starts the poller, the timers and the workers.
    pub(super) fn start(&self, stop: &CancellationToken, tasks: &TaskTracker) {
        let (poller, queue) = (self.poller.clone(), self.queue.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { poller.run().await }));
        tasks.spawn(stop.clone().run_until_cancelled_owned(async move { queue.run_timers().await }));
        for _ in 0..WORKERS {
            tasks.spawn(work(self.controller.clone(), self.poller.clone(), self.queue.clone(), stop.clone()));
        }
    }

    /// Wakes the object with a uid.
    pub(super) fn wake(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let queue = self.queue.clone();
        Arc::new(move |uid| queue.wake(uid))
    }

    /// Wakes every object.
    pub(super) fn wake_all(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (queue, objects) = (self.queue.clone(), self.objects.clone());
        Arc::new(move || objects.uids().iter().for_each(|uid| queue.wake(uid)))
    }

    /// Wakes the object of a namespace and name.
    pub(super) fn wake_named(&self) -> WakeTrain {
        let (queue, objects) = (self.queue.clone(), self.objects.clone());
        Arc::new(move |namespace, name| {
            if let Some(uid) = objects.uid_of(namespace, name) {
                queue.wake(&uid);
            }
        })
    }

    /// Wakes the object of a changed run, and the present object of that object's name.
    pub(super) fn wake_owner(&self) -> WakeOwner {
        let (queue, objects) = (self.queue.clone(), self.objects.clone());
        Arc::new(move |run| {
            queue.wake(&run.owner_uid);
            if let Some(uid) = objects.uid_of(&run.namespace, &run.owner_name).filter(|uid| **uid != *run.owner_uid) {
                queue.wake(&uid);
            }
        })
    }
}
