//! The media pipeline behind a mount: built with its first client, shared by all, gone with the last.

use std::sync::OnceLock;

use gst::glib;
use gst::subclass::prelude::*;
use gst_rtsp_server::prelude::*;
use gst_rtsp_server::subclass::prelude::*;
use gstreamer as gst;
use gstreamer_rtsp as gst_rtsp;
use gstreamer_rtsp::RTSPLowerTrans;
use gstreamer_rtsp_server as gst_rtsp_server;

use super::{Mount, access};

glib::wrapper! {
    /// Makes media of a mount.
    pub struct MountFactory(ObjectSubclass<imp::MountFactory>) @extends gst_rtsp_server::RTSPMediaFactory;
}

impl MountFactory {
    /// For this mount.
    pub(super) fn of(mount: &Mount) -> Self {
        let factory: Self = glib::Object::new();
        // It is new: nobody has set it before.
        let _ = factory.imp().mount.set(mount.clone());
        factory.set_shared(true);
        factory.set_protocols(RTSPLowerTrans::TCP | RTSPLowerTrans::UDP);
        // Frames keep our time: `Mount` counts from this clock.
        factory.set_clock(Some(&gst::SystemClock::obtain()));
        // Frames leave when they come: how late they are changes with the model's work, and clients even it out by the
        // frames' own times. Sinks that waited for the time would hold up the encoder.
        factory.connect_media_configure(|_, media| media.set_rate_control(false));
        access::admit(&factory);
        factory
    }
}

mod imp {
    use super::{
        Mount, ObjectImpl, ObjectSubclass, OnceLock, RTSPMediaFactoryImpl, RTSPMediaFactoryImplExt, glib, gst,
        gst_rtsp, gst_rtsp_server,
    };

    #[derive(Default)]
    pub struct MountFactory {
        pub(super) mount: OnceLock<Mount>,
    }

    #[glib::object_subclass]
    impl ObjectSubclass for MountFactory {
        const NAME: &'static str = "SpotterMountFactory";
        type Type = super::MountFactory;
        type ParentType = gst_rtsp_server::RTSPMediaFactory;
    }

    impl ObjectImpl for MountFactory {}

    impl RTSPMediaFactoryImpl for MountFactory {
        /// One media, whatever stands behind the path: nobody makes us encode twice.
        fn gen_key(&self, _url: &gst_rtsp::RTSPUrl) -> Option<glib::GString> {
            Some("all".into())
        }

        /// Nothing before the first frame, and clients are told to come back (503).
        fn construct(&self, url: &gst_rtsp::RTSPUrl) -> Option<gst_rtsp_server::RTSPMedia> {
            if self.mount.get()?.shows() { self.parent_construct(url) } else { None }
        }

        fn create_element(&self, _url: &gst_rtsp::RTSPUrl) -> Option<gst::Element> {
            self.mount.get()?.media()
        }
    }
}
