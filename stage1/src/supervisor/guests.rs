//! Apps that come to a pod while it runs.
//!
//! stage0 has made the app's directory and written its specification there;
//! here it is planned, gets its cgroups, and is sent to the init. Each start
//! is a new app to the engine: its root is put together anew from what it left.

use std::os::fd::OwnedFd;
use std::path::Path;

use manifests::engine::{self, AppStatus};

use super::control::{Control, Event, Request};
use super::{AppRecord, Supervisor, tell};
use crate::cgroup;
use crate::error::{Error, Result};
use crate::parcel::Parcel;
use crate::plan::{self, ThisHost};
use crate::rootfs::Sources;
use crate::users::Mapper;
use crate::wire::{self, Order};
use crate::{record, stdio};

/// What a request that was done is answered.
const DONE: &str = "ok";

impl Supervisor {
    /// Does what came on the control socket.
    pub(super) fn take_orders(&mut self, ready: &[bool]) -> Result<()> {
        let Some(mut control) = self.control.take() else {
            return Ok(());
        };
        for (client, request) in control.hear(ready) {
            if let Request::Attach(name, wants) = &request {
                match self.attach(name, wants) {
                    Ok((text, given)) => control.give(client, &text, &given),
                    Err(error) => control.answer(client, &error.line()),
                }
                continue;
            }
            match self.take_order(request) {
                Ok(Some(event)) => control.wait(client, event),
                Ok(None) => control.answer(client, DONE),
                Err(error) => control.answer(client, &error.line()),
            }
        }
        control.tidy();
        self.control = Some(control);
        Ok(())
    }

    /// Returns what to wait for, if it is not done yet.
    fn take_order(&mut self, request: Request) -> Result<Option<Event>> {
        match request {
            Request::Start(_) | Request::Stop(_) | Request::Remove(_) if !self.mutable => {
                Err(Error::Refused {
                    field: "pod",
                    value: self.uuid.clone(),
                    reason: "it is immutable",
                })
            }
            // It is answered by itself.
            Request::Attach(..) => Ok(None),
            Request::Start(name) => self.start_guest(&name),
            Request::Stop(name) => {
                let app = self.place_of(&name)?;
                if self.apps[usize::from(app)].over {
                    return Err(Error::NotRunning { app: name });
                }
                self.order(&Order::StopApp { app })?;
                Ok(Some(Event::Over(app)))
            }
            Request::Remove(name) => {
                let Ok(app) = self.place_of(&name) else {
                    return Ok(None);
                };
                let record = &mut self.apps[usize::from(app)];
                if !record.over {
                    return Err(Error::Refused {
                        field: "app",
                        value: name,
                        reason: "it is still running",
                    });
                }
                // The place is free for another.
                record.name.clear();
                Ok(None)
            }
        }
    }

    /// The names of the streams that somebody gets, behind "ok", and their
    /// descriptors.
    fn attach(&mut self, name: &str, wants: &str) -> Result<(String, Vec<OwnedFd>)> {
        let app = self.place_of(name)?;
        if self.apps[usize::from(app)].over {
            return Err(Error::NotRunning {
                app: name.to_owned(),
            });
        }
        let wants: Vec<_> = wants.split(',').collect();
        let given = match self.relay.hub(app) {
            Some(hub) => hub
                .attach(&wants)
                .map_err(Error::system("attach to", name))?,
            None => Vec::new(),
        };
        if given.is_empty() {
            return Err(refused(
                name,
                "it has no such stream to attach to (give it one: --stdin, --stdout, --stderr)",
            ));
        }
        let mut text = DONE.to_owned();
        let mut descriptors = Vec::new();
        for (stream, descriptor) in given {
            text.push(' ');
            text.push_str(stream);
            descriptors.push(descriptor);
        }
        Ok((text, descriptors))
    }

    fn place_of(&self, name: &str) -> Result<u16> {
        let place = self.apps.iter().position(|app| app.name == name);
        let not_running = || Error::NotRunning {
            app: name.to_owned(),
        };
        place
            .filter(|_| !name.is_empty())
            .and_then(|place| u16::try_from(place).ok())
            .ok_or_else(not_running)
    }

    fn start_guest(&mut self, name: &str) -> Result<Option<Event>> {
        if self.asked > 0 {
            return Err(refused(name, "its pod is being stopped"));
        }
        if let Ok(app) = self.place_of(name)
            && !self.apps[usize::from(app)].over
        {
            return Ok(None);
        }
        let written = read(name)?;
        let app = plan::App::new(written.clone(), &ThisHost).map_err(|e| e.of_app(name))?;
        let place = self
            .apps
            .iter()
            .position(|known| known.over && (known.name == name || known.name.is_empty()))
            .unwrap_or(self.apps.len());
        let index = u16::try_from(place).map_err(|_| refused(name, "the pod has too many apps"))?;
        let mut record = AppRecord::new(&app)?;
        let mut device_filter = self.make_cgroups(place, &app)?;
        if self.mapper.is_some() {
            let filter = device_filter.take();
            self.limit_devices(place, filter.as_deref())?;
        }
        let sent = self.send_guest(index, app, written, device_filter);
        if let Err(error) = sent {
            if let Some(cgroups) = &mut self.cgroups {
                cgroups.remove_app(place, name);
            }
            return Err(error);
        }
        record.status = AppStatus::default();
        tell(record::status(name, &record.status));
        match self.apps.get_mut(place) {
            Some(free) => *free = record,
            None => self.apps.push(record),
        }
        self.tell_lost();
        Ok(Some(Event::Started(index)))
    }

    fn make_cgroups(
        &mut self,
        place: usize,
        app: &plan::App,
    ) -> Result<Option<Vec<sys::device_filter::Instruction>>> {
        let mut plan = cgroup::Plan::new(&self.uuid, std::iter::once(app.wishes()))?;
        let device_filter = plan.take_device_filters().pop().flatten();
        let Some(cgroups) = &mut self.cgroups else {
            return Ok(device_filter);
        };
        for line in plan.record().lines() {
            if !self.recorded.lines().any(|known| known == line) {
                self.recorded.push_str(line);
                self.recorded.push('\n');
            }
        }
        record::cgroups(&self.recorded)?;
        cgroups.add(place, plan)?;
        Ok(device_filter)
    }

    fn send_guest(
        &mut self,
        index: u16,
        app: plan::App,
        written: engine::App,
        device_filter: Option<Vec<sys::device_filter::Instruction>>,
    ) -> Result<()> {
        let Some(wire) = &self.wire else {
            return Err(refused(&app.name, "its pod has ended"));
        };
        forget_last_mount(&app.name)?;
        let sources = Sources::open(&app, self.mapper.as_ref()).map_err(|e| e.of_app(&app.name))?;
        sources.cut_off()?;
        let mut stdio = stdio::open_app(
            &app,
            index,
            stdio::Pod {
                logs: self.logs,
                interactive: false,
                terminal: false,
                several: true,
                users: self.mapper.as_ref().map(Mapper::users),
            },
            &mut self.relay,
        )?;
        stdio.sockets = stdio::sockets_of(&app, &self.sockets)?;
        let parcel = Parcel {
            app,
            sources,
            stdio,
            device_filter,
        };
        parcel.send(written, wire)?;
        let failed = Error::attempt("reach", "the pod's init");
        wire::send(wire, &Order::Add { app: index }, &[]).map_err(|e| failed.because(e))?;
        self.order_start(index)
    }
}

fn refused(app: &str, reason: &'static str) -> Error {
    Error::Refused {
        field: "app",
        value: app.to_owned(),
        reason,
    }
}

/// An overlay that was volatile is not mounted again while a mark of that is
/// in its work directory (Documentation/filesystems/overlayfs.rst, "Volatile
/// mount"): it might miss writes after a crash. This boot has not crashed.
fn forget_last_mount(app: &str) -> Result<()> {
    let path = Path::new("apps").join(app).join("work/work");
    match std::fs::remove_dir_all(&path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::system("clear", path.display())(e))
        }
        _ => Ok(()),
    }
}

/// The app's specification, from its directory.
fn read(name: &str) -> Result<engine::App> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(refused(name, "not the name of an app"));
    }
    let path = Path::new("apps").join(name).join(engine::APP_FILE);
    let text = std::fs::read(&path).map_err(Error::system("read", path.display()))?;
    let app: engine::App = serde_json::from_slice(&text).map_err(|source| Error::Damaged {
        file: engine::APP_FILE,
        source,
    })?;
    match app.name == name {
        true => Ok(app),
        false => Err(refused(&app.name, "its file is another app's")),
    }
}

/// What the control socket says when an app has started or ended.
pub(super) fn answer(control: &mut Option<Control>, event: Event, failure: Option<&str>) {
    if let Some(control) = control {
        control.happened(event, failure.unwrap_or(DONE));
        control.tidy();
    }
}
