"""What tutorials on load balancing build: FastAPI instances that name themselves, behind nginx."""
import os
import socket
from datetime import datetime, timezone

from fastapi import FastAPI, Request

app = FastAPI()
INSTANCE = os.environ.get("INSTANCE", "fastapi")
ENVIRONMENT = os.environ.get("ENVIRONMENT", "dev")
HOSTNAME = socket.gethostname()
START = datetime.now(timezone.utc).isoformat()


@app.get("/")
async def whoami(request: Request):
    """Return the same fields as an instance of whoami."""
    return {
        "instance": INSTANCE,
        "port": request.url.port,
        "protocol": "http",
        "environment": ENVIRONMENT,
        "hostname": HOSTNAME,
        "version": "1.0.0",
        "startTime": START,
        "caller": {
            "peerAddress": f"{request.client.host}:{request.client.port}",
            "forwardedFor": request.headers.get("x-forwarded-for", ""),
            "requestId": request.headers.get("x-request-id", ""),
        },
    }
