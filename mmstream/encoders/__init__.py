"""What is measured. A new encoder is one file here and one line in one of these tables.

Edge encoders run in the decoding thread of their feed; replica encoders are batched across feeds; models on demand are
asked about single moments.
"""

EDGE_ENCODERS: dict[str, str] = {
    "motion": "mmstream.encoders.motion:MotionEncoder",
    "shapes": "mmstream.encoders.shapes:ShapesEncoder",
    "place": "mmstream.encoders.place:PlaceEncoder",
    "appearance": "mmstream.encoders.appearance:AppearanceEncoder",
    "expectation": "mmstream.encoders.expectation:ExpectationEncoder",
    "sound": "mmstream.encoders.sound:SoundEncoder",
    "words": "mmstream.encoders.words:WordsEncoder",
    "activity": "mmstream.encoders.activity:ActivityEncoder",
    "still": "mmstream.encoders.still:StillEncoder",
    "stream": "mmstream.encoders.stream:StreamEncoder",
}

REPLICA_ENCODERS: dict[str, str] = {
    "filterbank": "mmstream.encoders.filterbank:FilterBankEncoder",
    "site": "mmstream.encoders.site:SitePictureEncoder",
    "site-sound": "mmstream.encoders.site:SiteSoundEncoder",
    "vision": "mmstream.encoders.vision:PretrainedVisionEncoder",
    "torchvision": "mmstream.encoders.backbones:TorchvisionEncoder",
    "clap": "mmstream.encoders.audio:ClapEncoder",
    "ast": "mmstream.encoders.audio:AstEncoder",
    "text": "mmstream.encoders.text:SentenceEncoder",
}

ON_DEMAND_MODELS: dict[str, str] = {
    "whisper": "mmstream.encoders.speech:WhisperSpeech",
    "vlm": "mmstream.encoders.describe:PretrainedDescriber",
    "endpoint": "mmstream.encoders.endpoint:EndpointDescriber",
    "seq2seq": "mmstream.encoders.retell:TextRetelling",
}
