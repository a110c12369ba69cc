"""The service: the path of a request, in the order it runs.

1. chat        the HTTP edge of the OpenAI routes: admission, keys, body
2. wire        OpenAI's JSON → a Turn (body, fields, and what may not be asked)
3. detect      whose culture, in which role, on what evidence, or none (the package detection tells)
4. retrieve    the descriptions of those cultures that matter to this message, or none
5. ground      notes in the last user message, within a budget
6. backend     the upstream's answer as pieces: deadlines, retries, breaker (responder: without a model)
7. gate        pieces held until they are judged (flow: streams that leave while they are, in windows)
8. judge       what the answer is worth (assess): an LLM and the embedded baseline
9. remedy      what leaves in place of what may not: a repair, a safe fallback, a refusal (with rewrite, phrases)
10. reply      pieces → bytes: status, headers, frames, pings, [DONE] (report: what is said of them)

`pipeline` is steps 3 to 9 in order and only that, under the policy of the request. Around it: settings, app, front,
admission, queries, adapters, breaker, transport, translate, checks, probes, metrics, logs, errors, demand;
and the routes that speak the contracts of others: interop, moderations, litellm, fms.
"""

__version__ = "0.1.0"
