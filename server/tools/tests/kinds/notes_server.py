"""An HTTP server made with FastAPI, which writes its own OpenAPI document. Arguments: the folder of packages."""
import socket
import sys

sys.path.insert(0, sys.argv[1])

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, field_validator

app = FastAPI()
notes = {}


class Note(BaseModel):
    text: str
    stars: int | None = None

    @field_validator("text")
    def quiet(cls, text):
        if text.isupper():
            raise ValueError("do not shout")
        return text


@app.put("/notes/{name}")
def write(name: str, note: Note) -> Note:
    """Keeps a note"""
    notes[name] = note
    return note


@app.get("/notes/{name}")
def read(name: str, upper: bool = False) -> str:
    """The text of a note"""
    if name not in notes:
        raise HTTPException(404, "no such note")
    return notes[name].text.upper() if upper else notes[name].text


listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])
