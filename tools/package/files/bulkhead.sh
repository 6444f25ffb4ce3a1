#!/bin/sh
exec /usr/lib/bulkhead/bin/node /usr/lib/bulkhead/tools/launch/bulkhead.js "$@"
