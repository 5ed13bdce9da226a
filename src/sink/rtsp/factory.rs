//! The media pipeline behind a mount: built with its first client, shared by all, gone with the last.

use std::sync::OnceLock;

use gst::glib;
use gst::prelude::*;
use gst::subclass::prelude::*;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::subclass::prelude::*;
use gstreamer as gst;
use gstreamer_rtsp as gst_rtsp;
use gstreamer_rtsp::RTSPLowerTrans;
use gstreamer_rtsp_server as gst_rtsp_server;

use super::mount_point::{FRAMES, PAYLOADER};
use super::{MountPoint, access};

glib::wrapper! {
    /// Makes media of a mount.
    pub struct MountFactory(ObjectSubclass<imp::MountFactory>) @extends gst_rtsp_server::RTSPMediaFactory;
}

impl MountFactory {
    /// For this mount, and those who may watch it; with `tls` nothing leaves but what is encrypted.
    pub(super) fn of(mount: &MountPoint, tls: bool, roles: &[String], others: &[String]) -> Self {
        let factory: Self = glib::Object::new();
        // It is new: nobody has set it before.
        let _ = factory.imp().mount.set(mount.clone());
        factory.set_shared(true);
        // Datagrams would be as they are: clients that ask for them are told to come over the connection (461).
        factory.set_protocols(if tls { RTSPLowerTrans::TCP } else { RTSPLowerTrans::TCP | RTSPLowerTrans::UDP });
        // Frames keep our time: `MountPoint` counts from this clock.
        factory.set_clock(Some(&gst::SystemClock::obtain()));
        factory.connect_media_configure(|_, media| {
            media.connect_prepared(tell_capture_times);
        });
        access::admit(&factory, roles, others);
        factory
    }
}

/// Reports of the server (RTCP) say when a frame was taken, and not when it left: what was found on it took its time.
fn tell_capture_times(media: &gst_rtsp_server::RTSPMedia) {
    let pipeline = media.element().parent().and_then(|parent| parent.downcast::<gst::Bin>().ok());
    let elements = pipeline.map(|pipeline| pipeline.iterate_elements());
    for element in elements.into_iter().flatten().flatten() {
        if element.factory().is_some_and(|factory| factory.name() == "rtpbin") {
            element.set_property("rtcp-sync-send-time", false);
        }
    }
}

mod imp {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use glib::translate::IntoGlib as _;
    use gst::prelude::*;
    use gst_rtsp_server::prelude::*;

    use super::{
        FRAMES, MountPoint, ObjectImpl, ObjectSubclass, OnceLock, PAYLOADER, RTSPMediaFactoryImpl,
        RTSPMediaFactoryImplExt, glib, gst, gst_rtsp, gst_rtsp_server,
    };

    #[derive(Default)]
    pub struct MountFactory {
        pub(super) mount: OnceLock<MountPoint>,
        /// Counts the media so far.
        generation: Arc<AtomicU64>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for MountFactory {
        const NAME: &'static str = "SpotterMountFactory";
        type Type = super::MountFactory;
        type ParentType = gst_rtsp_server::RTSPMediaFactory;
    }

    impl ObjectImpl for MountFactory {}

    impl RTSPMediaFactoryImpl for MountFactory {
        /// One media, whatever stands behind the path: nobody makes us encode twice. One that is being taken down, because
        /// its last client left, is not the one for the next client.
        fn gen_key(&self, _url: &gst_rtsp::RTSPUrl) -> Option<glib::GString> {
            Some(self.generation.load(Ordering::Acquire).to_string().into())
        }

        fn configure(&self, media: &gst_rtsp_server::RTSPMedia) {
            self.parent_configure(media);
            let is_real = media.element().downcast::<gst::Bin>().is_ok_and(|bin| bin.by_name(FRAMES).is_some());
            if !is_real {
                // It fails, and the next client gets another one.
                media.set_shared(false);
                return;
            }
            let generation = Arc::downgrade(&self.generation);
            media.connect_target_state(move |_, state| {
                if state == gst::State::Null.into_glib()
                    && let Some(generation) = generation.upgrade()
                {
                    generation.fetch_add(1, Ordering::AcqRel);
                }
            });
        }

        /// One that fails before the first frame: clients are told that the service is not available (503), where none at
        /// all would be their mistake (400).
        fn create_element(&self, _url: &gst_rtsp::RTSPUrl) -> Option<gst::Element> {
            self.mount.get()?.media().or_else(|| failing().map(Cast::upcast))
        }
    }

    /// A pipeline that fails as soon as it starts: data of no kind reaches the payloader.
    fn failing() -> Option<gst::Bin> {
        let source = gst::ElementFactory::make("fakesrc").build().ok()?;
        let payloader = gst::ElementFactory::make("rtph264pay").name(PAYLOADER).build().ok()?;
        let bin = gst::Bin::new();
        bin.add_many([&source, &payloader]).ok()?;
        source.link(&payloader).ok()?;
        Some(bin)
    }
}
