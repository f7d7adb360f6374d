from gradio_client import Client, handle_file

client = Client("http://127.0.0.1:7860")
audio, seed = client.predict("jazz", 8, -1, api_name="/generate")  # -1 draws a seed; the one used comes back
blend, seed = client.predict("jazz", 8, 7, second_genre="hiphop", second_share=30, model="fcn", api_name="/generate")
label, sentence, timeline, picture = client.predict(handle_file(audio), api_name="/classify")
print(label["label"], sentence)
