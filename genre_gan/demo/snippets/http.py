import json
from urllib.request import Request, urlopen

api = "http://127.0.0.1:7860/gradio_api"
# genre, seconds, seed, blended with, its share in percent, variation, model, tempo, key, loop
body = json.dumps({"data": ["jazz", 8, 1, "none", 30, 1.0, "fcn", None, None, False]}).encode()
event = json.load(urlopen(Request(api + "/call/generate", body, {"Content-Type": "application/json"})))["event_id"]
answer = urlopen(f"{api}/call/generate/{event}").read().decode()
audio, seed = json.loads(answer.split("data: ")[-1])
with open("jazz.wav", "wb") as file:
    file.write(urlopen(audio["url"]).read())
