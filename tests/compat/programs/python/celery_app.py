"""Celery's application, and who asks of it: `celery_app.py COUNT`; COMPAT_BROKER is the URL of redis."""

import hashlib
import os
import sys

from celery import Celery

URL = os.environ["COMPAT_BROKER"]
app = Celery("celery_app", broker=URL, backend=URL)
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_send_task_events=False,
    result_expires=600,
    task_acks_late=True,
)
TIMEOUT_S = 15


@app.task
def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


if __name__ == "__main__":
    from celery_app import digest as task

    print("ready", flush=True)
    for round_ in range(2):
        texts = [f"{round_} {number}" * 200 for number in range(int(sys.argv[1]))]
        waiting = [task.delay(text) for text in texts]
        for text, result in zip(texts, waiting, strict=True):
            assert result.get(timeout=TIMEOUT_S) == hashlib.sha256(text.encode()).hexdigest(), text[:20]
        print(f"round {round_} right", flush=True)
        if round_ == 0:
            sys.stdin.readline()
