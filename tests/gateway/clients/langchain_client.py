"""LangChain, unmodified: python langchain_client.py BASE_URL KEY"""

import json
import sys

from langchain_openai import ChatOpenAI, OpenAIEmbeddings

base_url, key = sys.argv[1:]
chat = ChatOpenAI(model="test-model", base_url=base_url, api_key=key, max_retries=0)
whole = chat.invoke("one two three")
streamed = "".join(str(piece.content) for piece in chat.stream("one two three"))
embedder = OpenAIEmbeddings(model="cd" * 32, base_url=base_url, api_key=key, check_embedding_ctx_length=False)
print(
    json.dumps(
        {
            "whole": whole.content,
            "streamed": streamed,
            "tokens": whole.usage_metadata["total_tokens"],
            "embedding": embedder.embed_query("abc"),
        }
    )
)
