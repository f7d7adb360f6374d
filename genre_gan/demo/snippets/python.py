from genre_gan import GenreClassifier, GenreGenerator

clip = GenreGenerator.from_pretrained().generate("jazz", duration_s=8, seed=1)
clip.save("jazz.wav")
print(GenreClassifier.from_pretrained().classify("jazz.wav").verdict)
