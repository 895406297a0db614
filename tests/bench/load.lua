-- SPDX-License-Identifier: MIT
-- wrk's script.  Arguments: a target for each thread, ADDRESS PORT PATH; then, optionally, how many
-- objects there are and the exponent of a Zipf law: PATH is then a prefix of the objects' paths, and
-- object n is below the part that its number falls to in turn, /a/1, /b/2, /c/3, /a/4 ...
-- Ends with one line of JSON.

local threads = 0

function setup(thread)
    threads = threads + 1
    thread:set("number", threads)
    thread:set("seed", os.time() * 16 + threads)
end

local PARTS = { "a", "b", "c" }
local SAMPLES = 65536

-- What most requests cost must not be the drawing: draw ahead.
local function zipf(objects, exponent)
    local sums, sum, paths = {}, 0, {}
    for rank = 1, objects do
        sum = sum + rank ^ -exponent
        sums[rank] = sum
    end
    math.randomseed(seed)
    for sample = 1, SAMPLES do
        local drawn, low, high = math.random() * sum, 1, objects
        while low < high do
            local middle = math.floor((low + high) / 2)
            if sums[middle] < drawn then low = middle + 1 else high = middle end
        end
        paths[sample] = wrk.format("GET", "/" .. PARTS[(low - 1) % #PARTS + 1] .. "/" .. low)
    end
    return paths
end

function init(arguments)
    local threads_given = math.floor(#arguments / 3)
    local first = (number - 1) % threads_given * 3
    wrk.thread.addr = wrk.lookup(arguments[first + 1], arguments[first + 2])[1]
    wrk.path = arguments[first + 3]
    local objects = arguments[threads_given * 3 + 1]
    if objects then
        local paths = zipf(tonumber(objects), tonumber(arguments[threads_given * 3 + 2]))
        local turn = 0
        request = function()
            turn = turn % SAMPLES + 1
            return paths[turn]
        end
    end
end

function done(summary, latency, requests)
    local errors = summary.errors
    io.write(string.format(
        '{"requests":%d,"octets":%d,"seconds":%.6f,"p50":%d,"p99":%d,"p999":%d,'
            .. '"connect":%d,"read":%d,"write":%d,"status":%d,"timeout":%d}\n',
        summary.requests, summary.bytes, summary.duration / 1e6,
        latency:percentile(50), latency:percentile(99), latency:percentile(99.9),
        errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
