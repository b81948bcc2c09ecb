//! The KV caches of a configured model, where it has any: the position in them, and what they hold.

use super::configured::Configured;
use crate::error::Error;
use crate::soc::rpc::method::{
    FinalizeCache, GetCacheBuffers, InitCache, UpdateCacheBuffer, UpdateCacheOffset,
};
use crate::spec::rpc::types::{
    CacheBuffer, InitCacheRequest, UpdateCacheBufferRequest, UpdateCacheOffsetRequest,
};

impl Configured {
    /// Sets the position in the caches, in entries. From firmware 5.1.0 on.
    ///
    /// # Errors
    /// The position is not below their length, or the model has none; the connection's.
    pub fn set_cache_position(&self, position: u32) -> Result<(), Error> {
        let body = InitCacheRequest {
            handle: self.handle(),
            read_offset: position,
        };
        self.ask::<InitCache>("set the position in the caches", &body)
            .map(drop)
    }

    /// Moves the position by so many entries, around the end and the beginning. From firmware 5.1.0 on.
    ///
    /// # Errors
    /// The model has no caches; the connection's.
    pub fn move_cache_position(&self, entries: i32) -> Result<(), Error> {
        let body = UpdateCacheOffsetRequest {
            handle: self.handle(),
            delta: entries,
        };
        self.ask::<UpdateCacheOffset>("move the position in the caches", &body)
            .map(drop)
    }

    /// Says that the caches are filled. From firmware 5.1.0 on, which does nothing with it.
    ///
    /// # Errors
    /// The connection's.
    pub fn finalize_cache(&self) -> Result<(), Error> {
        self.ask::<FinalizeCache>("finish the caches", &self.request())
            .map(drop)
    }

    /// What the caches hold, each with its number. From firmware 5.1.1 on.
    ///
    /// # Errors
    /// They do not fit a reply of 2048 bytes, as those of real models don't; the connection's.
    pub fn caches(&self) -> Result<Vec<(i32, Vec<u8>)>, Error> {
        let reply = self.ask::<GetCacheBuffers>("read the caches", &self.request())?;
        let caches = reply.buffers.into_iter();
        Ok(caches.map(|cache| (cache.id, cache.data)).collect())
    }

    /// Replaces what a cache holds. From firmware 5.1.1 on.
    ///
    /// # Errors
    /// It does not fit a request of 2048 bytes; the connection's, or a status.
    pub fn set_cache(&self, number: i32, contents: &[u8]) -> Result<(), Error> {
        let body = UpdateCacheBufferRequest {
            handle: self.handle(),
            buffer: Some(CacheBuffer {
                id: number,
                data: contents.to_vec(),
            }),
        };
        self.ask::<UpdateCacheBuffer>("replace a cache", &body)
            .map(drop)
    }
}
